#!/usr/bin/env python3
"""Random tiny models as GGUF files that llama.cpp's own converter wrote: our logits against those
of transformers in float32, and of llama.cpp where it does the same arithmetic.

usage: against_llama_cpp.py --bin NODE_AGENT --source LLAMA_CPP [--seeds 0:5] [--only SUBSTRING]
                            [--type f32|f16|bf16] [--split TENSORS] [--fuse-qkv] [--keep FOLDER]

LLAMA_CPP is its source tree (a release of llama-cpp-python has one under vendor/). Needs torch and
transformers (exits 77 without them); llama-cpp-python for the second half, which is left out
without it. Models are those of against_transformers.py, less what the converter cannot say.
"""
import argparse
import contextlib
import ctypes
import importlib
import json
import logging
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import against_transformers as drawn
from against_transformers import torch

CONVERTERS = ['llama', 'mistral', 'qwen', 'gemma', 'phi', 'glm', 'chatglm', 'deepseek', 'gpt_oss']
TYPES = {'f32': ('ALL_F32', torch.float32), 'f16': ('MOSTLY_F16', torch.float16),
         'bf16': ('MOSTLY_BF16', torch.bfloat16)}
# Of the logits' deviation. llama.cpp tabulates Gemma's GELU, and rounds activations to the type of
# the weights.
OURS, THEIRS = 1e-3, {'f32': 1e-3, 'f16': 5e-2, 'bf16': 3e-1}


# --- what a GGUF can say ----------------------------------------------------------------------

def simplify_rope(name, s):
    rope = s.get('rope_scaling')
    if name in ('glm', 'gemma', 'gemma2'):
        s.update(rope_theta=10000.0, rope_scaling=None)  # no key is written
        return
    kind = (rope or {}).get('rope_type')
    if kind == 'dynamic' or (kind == 'llama3' and name != 'llama'):
        s['rope_scaling'] = None
    if kind != 'yarn':
        return
    rope.pop('attention_factor', None)
    rope.pop('truncate', None)
    if name == 'gpt_oss':
        rope['truncate'] = False
    if not name.startswith('deepseek'):
        rope.pop('mscale', None)
        rope.pop('mscale_all_dim', None)
    elif 'mscale' in rope:
        rope['mscale'] = rope['mscale_all_dim']


def simplify(name, s):
    """Leaves what the converter writes down."""
    simplify_rope(name, s)
    if name in ('gemma2', 'gemma3_text'):
        s['query_pre_attn_scalar'] = s['head_dim']
        s.pop('layer_types', None)
        s.pop('sliding_window_pattern', None)
    if name.startswith('gemma'):
        s.update(attention_bias=False, tie_word_embeddings=True)
    if name == 'gemma2':
        s.update(attn_logit_softcapping=5.0, final_logit_softcapping=9.0)
    if name == 'glm':
        s.update(head_dim=s['hidden_size'] // s['num_attention_heads'], rms_norm_eps=1e-5)
    if name.startswith('qwen'):
        s['use_sliding_window'] = False
    if name.startswith('qwen3'):
        s['attention_bias'] = False
    if name.endswith('_moe') and name.startswith('qwen'):
        s.update(mlp_only_layers=[], decoder_sparse_step=1, norm_topk_prob=name == 'qwen3_moe')
    if name in ('mistral', 'mixtral'):
        s['sliding_window'] = None
    if name == 'llama':
        s['hidden_act'] = 'silu'
    if name == 'gpt_oss':
        s.update(attention_bias=True, swiglu_limit=7.0, swiglu_alpha=1.702)
        s.pop('layer_types', None)
    if name.startswith('deepseek'):
        s.update(attention_bias=False, mlp_bias=False, rms_norm_eps=1e-6, rope_interleave=True)
    if name == 'deepseek_v2':
        s['norm_topk_prob'] = False
        if s['topk_method'] == 'greedy':
            s['n_group'] = s['topk_group'] = 1
    if name == 'deepseek_v3':
        s['scoring_func'] = 'sigmoid'


def is_done_otherwise(name, s):
    """Where llama.cpp's arithmetic is another one by its own choice: it ignores Phi-3's windows,
    takes its long factors by the context's size, rounds YaRN's range for gpt-oss, reads no bounds
    of that range for most, and takes DeepSeek's magnitudes differently."""
    rope = s.get('rope_scaling') or {}
    if name == 'phi3':
        return bool(s['sliding_window'] or rope)
    if name.startswith('deepseek'):
        return bool(rope)
    return name == 'gpt_oss' or 'beta_fast' in rope or 'beta_slow' in rope


# --- the files --------------------------------------------------------------------------------

def write_folder(folder, name, s, model):
    model.save_pretrained(folder)
    with open(f'{folder}/config.json', encoding='utf-8') as f:
        kind = json.load(f)['model_type']
    config = {'model_type': kind, 'architectures': [drawn.MODELS[name][0]],
              **{k: v for k, v in s.items() if k != 'head_dim' or v is not None}}
    with open(f'{folder}/config.json', 'w', encoding='utf-8') as f:
        json.dump(config, f)
    tokens = {str(i): i for i in range(s['vocab_size'])}  # to be counted only
    with open(f'{folder}/tokenizer.json', 'w', encoding='utf-8') as f:
        json.dump({'model': {'vocab': tokens}, 'added_tokens': []}, f)


def without_vocabulary(converter, size):
    def set_vocab(self):
        self.gguf_writer.add_tokenizer_model('no_vocab')
        keys = [key for part in self.gguf_writer.kv_data for key in part]
        if not any(key.endswith('.vocab_size') for key in keys):
            self.gguf_writer.add_vocab_size(size)
    return type(converter.__name__, (converter,),
                {'set_vocab': set_vocab, 'model_arch': converter.model_arch, 'no_mtp': True})


def convert(args, name, folder, out):
    """The path of the (first) file."""
    base = importlib.import_module('conversion.base')
    gguf = importlib.import_module('gguf')
    settings = base.ModelBase.load_hparams(pathlib.Path(folder), False)
    converter = base.ModelBase.from_model_architecture(drawn.MODELS[name][0])
    file_type = getattr(gguf.LlamaFileType, TYPES[args.type][0])
    with open(os.devnull, 'w', encoding='utf-8') as quiet, contextlib.redirect_stderr(quiet):
        without_vocabulary(converter, settings['vocab_size'])(
            pathlib.Path(folder), file_type, pathlib.Path(f'{out}/model.gguf'), eager=True,
            hparams=settings, split_max_tensors=args.split, fuse_qkv=args.fuse_qkv).write()
    return min(str(path) for path in pathlib.Path(out).glob('*.gguf'))


# --- llama.cpp's logits -----------------------------------------------------------------------

def print_their_logits(model, ids_file, out):
    """In a process of its own, for llama.cpp aborts where a model is not to its taste."""
    import llama_cpp
    with open(ids_file, encoding='utf-8') as f:
        ids = [int(word) for word in f.read().split()]
    opened = llama_cpp.llama_model_load_from_file(model.encode(),
                                                  llama_cpp.llama_model_default_params())
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = max(64, len(ids))
    settings.n_threads = settings.n_threads_batch = 1
    settings.type_k = settings.type_v = llama_cpp.GGML_TYPE_F32
    settings.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = llama_cpp.llama_init_from_model(opened, settings) if opened else None
    if not context:
        sys.exit(1)
    batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
        batch.seq_id[i][0] = 0
    if llama_cpp.llama_decode(context, batch):
        sys.exit(1)
    size = len(ids) * llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(opened))
    with open(out, 'wb') as f:
        f.write(ctypes.string_at(llama_cpp.llama_get_logits(context), size * 4))


def their_logits(model, ids):
    """None: it does not take the model, or is not here."""
    with tempfile.TemporaryDirectory() as work:
        with open(f'{work}/ids', 'w', encoding='utf-8') as f:
            f.write(' '.join(map(str, ids)))
        done = subprocess.run([sys.executable, __file__, '--logits', model, f'{work}/ids',
                               f'{work}/rows'], capture_output=True, check=False, timeout=120,
                              env={**os.environ, 'GGML_NO_BACKTRACE': '1'})
        if done.returncode:
            return None
        with open(f'{work}/rows', 'rb') as f:
            return torch.frombuffer(bytearray(f.read()), dtype=torch.float32)


# --- the comparison ---------------------------------------------------------------------------

def compare(args, name, settings, model, file, prompts):
    """A sentence, or None; and how many prompts llama.cpp answered too."""
    is_mixture = any('expert' in key for key in settings)
    theirs_count = 0
    for ids in prompts:
        wanted = drawn.reference(model, ids)
        ours = drawn.score(args, file, ids, ['--kernels', 'scalar'])
        if isinstance(ours, str):
            return ours, theirs_count
        off = drawn.worst(ours, wanted, is_mixture, False)
        if off > OURS:
            return f'{len(ids)} tokens: off by {off:.2e} from transformers', theirs_count
        theirs = None if is_done_otherwise(name, settings) else their_logits(file, ids)
        if theirs is None:
            continue
        theirs_count += 1
        off = drawn.worst(theirs, ours.view(wanted.shape), is_mixture, args.type != 'f32')
        if off > (2e-2 if args.type == 'f32' and name.startswith('gemma') else THEIRS[args.type]):
            return f'{len(ids)} tokens: off by {off:.2e} from llama.cpp', theirs_count
    return None, theirs_count


def check(args, name, seed, work):
    """Why the model is not possible, what is wrong, and how many prompts were compared twice."""
    r = random.Random(f'{name} {seed} gguf')
    settings = drawn.MODELS[name][1](r)
    simplify(name, settings)
    try:
        model = drawn.build(name, dict(settings), seed, TYPES[args.type][1])
    except (ValueError, RuntimeError, TypeError, KeyError) as refused:
        return f'transformers: {str(refused)[:90]}', None, 0
    shutil.rmtree(f'{work}/gguf', ignore_errors=True)
    os.makedirs(f'{work}/gguf')
    write_folder(f'{work}/folder', name, settings, model)
    file = convert(args, name, f'{work}/folder', f'{work}/gguf')
    return None, *compare(args, name, settings, model, file, drawn.prompts(r, settings))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--bin', required=True)
    parser.add_argument('--source', required=True)
    parser.add_argument('--seeds', default='0:5')
    parser.add_argument('--only', default='')
    parser.add_argument('--type', default='f32', choices=list(TYPES))
    parser.add_argument('--split', type=int, default=0)
    parser.add_argument('--fuse-qkv', action='store_true')
    parser.add_argument('--keep')
    args = parser.parse_args()
    sys.path[:0] = [args.source, f'{args.source}/gguf-py']
    for converter in CONVERTERS:
        importlib.import_module(f'conversion.{converter}')
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    drawn.transformers.utils.logging.disable_progress_bar()
    first, last = map(int, args.seeds.split(':'))
    passed = failed = refused = twice = 0
    for seed in range(first, last):
        for name in drawn.MODELS:
            if args.only not in name:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                work = f'{args.keep}/{name}.{seed}' if args.keep else scratch
                not_possible, wrong, count = check(args, name, seed, work)
            twice += count
            refused += not_possible is not None
            passed += not_possible is None and wrong is None
            failed += wrong is not None
            if wrong:
                print(f'FAIL {name} {seed}: {wrong}', flush=True)
    print(f'{passed} models passed, {failed} failed, {refused} were not possible; '
          f'llama.cpp agreed on {twice} prompts')
    sys.exit(1 if failed or not passed else 0)


if __name__ == '__main__':
    if sys.argv[1:2] == ['--logits']:
        print_their_logits(*sys.argv[2:])
    else:
        main()
