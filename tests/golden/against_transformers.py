#!/usr/bin/env python3
"""Random tiny models of every architecture, against Hugging Face transformers in float32.

usage: against_transformers.py --bin NODE_AGENT [--seeds 0:200] [--only SUBSTRING] [--keep FOLDER]
                               [--quick] [--encoders]
       against_transformers.py --make FOLDER

Needs torch and transformers; exits 77 (skipped) without them. A seed and an architecture name make
one model: sizes, flags, RoPE rules, number types, spellings of the config and file layouts are
drawn at random, so that `--only qwen3 --seeds 17:18 --keep DIR` shows a failure again. Each model
is scored with the scalar kernels (tight), with the default ones, and over ranks. --encoders draws
models without an output matrix, most of which see both ways, and compares hidden states. --make
writes one revealing model of each architecture with its reference logits, as tests/golden/data/models has
them.
"""
import argparse
import copy
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import warnings

os.environ['TRANSFORMERS_VERBOSITY'] = 'error'
os.environ['CUDA_VISIBLE_DEVICES'] = ''
warnings.filterwarnings('ignore')
try:
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
except ImportError as missing:
    print(f'skipped: {missing}')
    sys.exit(77)

TIGHT = 1e-3   # of the logits' deviation: float32, another order of summation
LOOSE = 5e-2   # activations or KV in half precision


# --- what a config may say --------------------------------------------------------------------

def sizes(r, **fixed):
    """Sizes that every architecture has, as odd as they may be."""
    kv = r.choice([1, 1, 2, 3, 4])
    heads = kv * r.choice([1, 2, 3, 5])
    head = r.choice([8, 12, 16, 20, 24, 32])
    multiple = r.choice([4, 8, 10, 16])  # transformers wants hidden to be a multiple of heads
    c = {'vocab_size': r.randrange(60, 140), 'hidden_size': heads * multiple,
         'intermediate_size': r.randrange(20, 90), 'num_hidden_layers': r.randrange(1, 5),
         'num_attention_heads': heads, 'num_key_value_heads': kv, 'head_dim': head,
         'rms_norm_eps': r.choice([1e-5, 1e-6, 3e-4, 1e-2]),
         'max_position_embeddings': r.choice([64, 256, 2048]),
         'tie_word_embeddings': r.random() < 0.4,
         'bos_token_id': 1, 'eos_token_id': r.choice([2, [2, 3]]), 'pad_token_id': 0,
         'rope_theta': r.choice([10000.0, 500000.0, 1000000.0, 777.0])}
    c.update(fixed)
    return c


def rope(r, kinds, context):
    """A rope_scaling object, or None."""
    kind = r.choice(kinds)
    original = r.choice([8, 16, 32])
    factor = r.choice([2.0, 4.0, 3.5, 8.0])
    if kind is None:
        return None
    if kind in ('linear', 'dynamic'):
        return {'rope_type': kind, 'factor': factor}
    if kind == 'llama3':
        return {'rope_type': kind, 'factor': factor, 'low_freq_factor': r.choice([1.0, 0.5]),
                'high_freq_factor': r.choice([4.0, 2.5]),
                'original_max_position_embeddings': original}
    s = {'rope_type': 'yarn', 'factor': factor, 'original_max_position_embeddings': original}
    for key, values in (('beta_fast', [32, 8.0, 4]), ('beta_slow', [1, 0.5]),
                        ('attention_factor', [1.1, 0.8]), ('truncate', [True, False])):
        if r.random() < 0.4:
            s[key] = r.choice(values)
    if r.random() < 0.3:
        s.update(mscale=r.choice([1.0, 0.707]), mscale_all_dim=r.choice([1.0, 0.5]))
    return s


def with_rope(r, c, kinds):
    c['rope_scaling'] = rope(r, kinds, c['max_position_embeddings'])
    return c


def layer_types(r, c):
    c['layer_types'] = [r.choice(['sliding_attention', 'full_attention'])
                        for _ in range(c['num_hidden_layers'])]


ANY_ROPE = [None, None, 'linear', 'dynamic', 'llama3', 'yarn']


def llama(r):
    c = with_rope(r, sizes(r), ANY_ROPE)
    c.update(attention_bias=r.random() < 0.4, mlp_bias=r.random() < 0.3,
             hidden_act=r.choice(['silu', 'silu', 'gelu', 'gelu_pytorch_tanh', 'relu']))
    if r.random() < 0.3:
        c['head_dim'] = None
    return c


def mistral(r):
    c = with_rope(r, sizes(r, sliding_window=r.choice([None, 5, 12, 4096])), ANY_ROPE)
    if r.random() < 0.3:
        c['head_dim'] = None
    return c


def mixtral(r):
    c = with_rope(r, sizes(r, sliding_window=r.choice([None, 7])), [None, 'linear', 'yarn'])
    c['num_local_experts'] = r.choice([2, 3, 4, 8])
    c['num_experts_per_tok'] = r.randrange(1, min(4, c['num_local_experts']) + 1)
    if r.random() < 0.3:
        c['head_dim'] = None
    return c


def qwen_windows(r, c, types=True):
    c.update(use_sliding_window=r.random() < 0.6, sliding_window=r.choice([4, 9, 16]),
             max_window_layers=r.randrange(0, c['num_hidden_layers'] + 1))
    if types and c['use_sliding_window'] and r.random() < 0.4:
        layer_types(r, c)
    return c


def even_heads(c):
    """Where head_dim is hidden / heads."""
    c.pop('head_dim')
    return c


def qwen2(r):
    return qwen_windows(r, with_rope(r, even_heads(sizes(r)), ANY_ROPE))


def mixture(r, c, count='num_experts'):
    c[count] = r.choice([2, 4, 5, 8])
    c['num_experts_per_tok'] = r.randrange(1, min(4, c[count]) + 1)
    c['moe_intermediate_size'] = r.randrange(12, 50)
    c['norm_topk_prob'] = r.random() < 0.5
    return c


def sparse(r, c):
    c['decoder_sparse_step'] = r.choice([1, 1, 2, 3])
    c['mlp_only_layers'] = sorted(r.sample(range(c['num_hidden_layers']),
                                           r.randrange(0, c['num_hidden_layers'])))
    return c


def qwen2_moe(r):
    c = sparse(r, mixture(r, qwen_windows(r, with_rope(r, even_heads(sizes(r)), ANY_ROPE))))
    c['shared_expert_intermediate_size'] = r.randrange(12, 60)
    c['qkv_bias'] = r.random() < 0.8
    return c


def qwen3(r):
    c = qwen_windows(r, with_rope(r, sizes(r, attention_bias=r.random() < 0.3), ANY_ROPE))
    return c


def qwen3_moe(r):
    c = with_rope(r, sizes(r, attention_bias=r.random() < 0.3), ANY_ROPE)
    return sparse(r, mixture(r, qwen_windows(r, c, types=False)))


def gemma(r):
    return with_rope(r, sizes(r, hidden_act=r.choice(['gelu', 'gelu_pytorch_tanh']),
                              attention_bias=r.random() < 0.2), [None, None, 'linear', 'yarn'])


def gemma_common(r, c):
    c.update(hidden_activation='gelu_pytorch_tanh', query_pre_attn_scalar=r.choice([8, 24, 144]),
             attention_bias=r.random() < 0.2, sliding_window=r.choice([3, 6, 12, 64]))
    return c


def gemma2(r):
    c = gemma_common(r, with_rope(r, sizes(r), [None, None, 'linear', 'yarn']))
    c.update(attn_logit_softcapping=r.choice([None, 50.0, 3.0]),
             final_logit_softcapping=r.choice([None, 30.0, 2.0]))
    if r.random() < 0.4:
        layer_types(r, c)
    return c


def gemma3(r):
    c = gemma_common(r, sizes(r, num_hidden_layers=r.randrange(1, 8)))
    c['final_logit_softcapping'] = r.choice([None, None, 20.0])
    if r.random() < 0.5:
        c['rope_local_base_freq'] = r.choice([10000.0, 500.0])
        c['rope_scaling'] = r.choice([None, {'rope_type': 'linear', 'factor': 8.0}])
    else:
        c['rope_parameters'] = {
            'full_attention': {'rope_type': 'linear', 'factor': 4.0, 'rope_theta': c.pop('rope_theta')}
            if r.random() < 0.5 else {'rope_type': 'default', 'rope_theta': 5000.0},
            'sliding_attention': {'rope_type': 'default', 'rope_theta': r.choice([10000.0, 300.0])}}
        c.pop('rope_theta', None)
    pattern = r.choice(['types', 'sliding_window_pattern', None])
    if pattern == 'types':
        layer_types(r, c)
    elif pattern:
        c[pattern] = r.choice([2, 3, 6])
    return c


def phi3(r):
    c = even_heads(sizes(r, original_max_position_embeddings=r.choice([16, 24, 40])))
    c['sliding_window'] = r.choice([None, None, 9, 4096])
    c['partial_rotary_factor'] = r.choice([1.0, 1.0, 0.5, 0.75])
    head = c['hidden_size'] // c['num_attention_heads']
    dims = int(head * c['partial_rotary_factor'])
    dims -= dims % 2
    c['partial_rotary_factor'] = dims / head
    dims = int(head * c['partial_rotary_factor'])
    if dims % 2:
        c['partial_rotary_factor'] = 1.0
        dims = head
    c['max_position_embeddings'] = r.choice([c['original_max_position_embeddings'] * 4, 128])
    if r.random() < 0.7:
        c['rope_scaling'] = {'type': 'longrope',
                             'short_factor': [1 + r.random() for _ in range(dims // 2)],
                             'long_factor': [1 + 9 * r.random() for _ in range(dims // 2)]}
    return c


def glm(r):
    c = sizes(r, attention_bias=r.random() < 0.5, head_dim=r.choice([8, 12, 16, 20, 32]))
    c['partial_rotary_factor'] = 0.5
    return with_rope(r, c, [None, None, 'linear', 'yarn'])


def grouped(r, c, least=1):
    """Groups of at least `least` experts each, of which `topk_group` are open."""
    groups = r.choice([1, 2, 4])
    size = max(least, r.choice([2, 3, 4]))
    c['n_routed_experts'] = groups * size
    c['n_group'] = groups
    c['topk_group'] = r.randrange(1, groups + 1)
    c['num_experts_per_tok'] = r.randrange(1, min(6, c['topk_group'] * size) + 1)
    c['moe_intermediate_size'] = r.randrange(10, 40)
    c['n_shared_experts'] = r.choice([1, 1, 2])
    c['routed_scaling_factor'] = r.choice([1.0, 2.5, 0.7])
    c['first_k_dense_replace'] = r.randrange(0, c['num_hidden_layers'] + 1)
    c['norm_topk_prob'] = r.random() < 0.6
    return c


def glm4_moe(r):
    c = grouped(r, sizes(r, attention_bias=r.random() < 0.6, use_qk_norm=r.random() < 0.5), 2)
    c['partial_rotary_factor'] = 0.5
    return with_rope(r, c, [None, None, 'linear', 'yarn'])


def latent(r, c):
    even_heads(c)
    c['num_attention_heads'] = r.choice([1, 2, 3, 5, 8])
    c['num_key_value_heads'] = c['num_attention_heads']
    c['hidden_size'] = c['num_attention_heads'] * r.choice([8, 12, 20])
    c.update(kv_lora_rank=r.choice([16, 20, 32]), q_lora_rank=r.choice([None, 12, 24]),
             qk_nope_head_dim=r.choice([8, 12, 16, 20]), qk_rope_head_dim=r.choice([4, 8, 12]),
             v_head_dim=r.choice([8, 12, 16, 24]), attention_bias=r.random() < 0.3)
    return c


def deepseek_v2(r):
    c = latent(r, grouped(r, sizes(r), 1))
    c['topk_method'] = r.choice(['greedy', 'group_limited_greedy'])
    c['mlp_bias'] = r.random() < 0.2
    return with_rope(r, c, [None, 'linear', 'yarn', 'yarn'])


def deepseek_v3(r):
    c = latent(r, grouped(r, sizes(r), 2))
    c['rope_interleave'] = r.random() < 0.7
    return with_rope(r, c, [None, 'linear', 'yarn', 'yarn'])


def gpt_oss(r):
    c = sizes(r, sliding_window=r.choice([4, 12, 128]), attention_bias=r.random() < 0.8)
    c['num_local_experts'] = r.choice([2, 4, 5])
    c['num_experts_per_tok'] = r.randrange(1, min(4, c['num_local_experts']) + 1)
    c['swiglu_limit'] = r.choice([7.0, 7.0, 1.5])
    c['swiglu_alpha'] = r.choice([1.702, 1.702, 1.2])
    if r.random() < 0.3:
        layer_types(r, c)
    return with_rope(r, c, [None, 'yarn', 'yarn'])


MODELS = {  # name: (class, draw, wrapper that has it as its text half)
    'llama': ('LlamaForCausalLM', llama, 'LlavaForConditionalGeneration'),
    'mistral': ('MistralForCausalLM', mistral, 'Mistral3ForConditionalGeneration'),
    'mixtral': ('MixtralForCausalLM', mixtral, None),
    'qwen2': ('Qwen2ForCausalLM', qwen2, 'LlavaForConditionalGeneration'),
    'qwen2_moe': ('Qwen2MoeForCausalLM', qwen2_moe, None),
    'qwen3': ('Qwen3ForCausalLM', qwen3, None),
    'qwen3_moe': ('Qwen3MoeForCausalLM', qwen3_moe, None),
    'gemma': ('GemmaForCausalLM', gemma, 'PaliGemmaForConditionalGeneration'),
    'gemma2': ('Gemma2ForCausalLM', gemma2, 'PaliGemmaForConditionalGeneration'),
    'gemma3_text': ('Gemma3ForCausalLM', gemma3, 'Gemma3ForConditionalGeneration'),
    'phi3': ('Phi3ForCausalLM', phi3, None),
    'glm': ('GlmForCausalLM', glm, None),
    'glm4': ('Glm4ForCausalLM', glm, None),
    'glm4_moe': ('Glm4MoeForCausalLM', glm4_moe, None),
    'deepseek_v2': ('DeepseekV2ForCausalLM', deepseek_v2, None),
    'deepseek_v3': ('DeepseekV3ForCausalLM', deepseek_v3, None),
    'gpt_oss': ('GptOssForCausalLM', gpt_oss, None),
}


# --- the reference ----------------------------------------------------------------------------

def build(name, settings, seed, dtype):
    """The model with random weights, all of them, rounded to `dtype`."""
    model_class = getattr(transformers, MODELS[name][0])
    config = model_class.config_class(**settings)
    config._attn_implementation = 'eager'
    config._experts_implementation = 'eager'
    torch.manual_seed(seed)
    model = model_class(config).float().eval()
    for key, tensor in list(model.named_parameters()) + list(model.named_buffers()):
        if 'inv_freq' in key or key == 'model.embed_scale' or key.endswith('embed_scale'):
            continue
        with torch.no_grad():
            if 'norm' in key and tensor.dim() == 1 and 'bias' not in key:
                center = 0 if name.startswith('gemma') else 1
                tensor.copy_(center + 0.3 * torch.randn_like(tensor))
            elif tensor.dim() == 1 or 'bias' in key or 'sinks' in key:
                tensor.copy_(0.3 * torch.randn_like(tensor))
            elif 'embed' in key:
                tensor.copy_(0.7 * torch.randn_like(tensor))
            else:
                fan_in = tensor.shape[-2] if name == 'gpt_oss' and tensor.dim() == 3 else tensor.shape[-1]
                tensor.copy_(torch.randn_like(tensor) * 1.2 / fan_in ** 0.5)
            tensor.copy_(tensor.to(dtype).float())
    model.tie_weights()
    return model


def reference(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float()


# --- the files --------------------------------------------------------------------------------

def saved_tensors(model, folder, dtype, r):
    """Names and tensors as transformers saves them: mostly as published, or as it holds them."""
    copied = copy.deepcopy(model).to(dtype)  # to() rounds RoPE's frequencies too
    copied.save_pretrained(folder, save_original_format=r.random() < 0.7)
    tensors = {}
    for file in sorted(os.listdir(folder)):
        if file.endswith('.safetensors'):
            tensors.update(load_file(f'{folder}/{file}'))
    return tensors


def rename_for_wrapper(tensors, r):
    """Prefixes of older and newer wrappers."""
    layer, head = r.choice([('language_model.model.', 'language_model.lm_head.'),
                            ('model.language_model.', 'lm_head.')])
    return {k.replace('model.', layer, 1) if k.startswith('model.')
            else k.replace('lm_head.', head, 1): v for k, v in tensors.items()}


def write_config(folder, name, settings, r):
    """config.json in the style of transformers 4 or 5; keys with a default value may be left out."""
    style = r.choice(['5', '5', '4', 'sparse'])
    if style == '5':
        with open(f'{folder}/config.json', encoding='utf-8') as f:
            out = json.load(f)
    else:
        out = {'model_type': name, **settings}
        for key in list(out):
            if style == 'sparse' and key != 'model_type' and key in DEFAULTS[name] and DEFAULTS[name][key] == out[key]:
                del out[key]
        out['torch_dtype'] = 'float32'
    out['architectures'] = [MODELS[name][0]]
    if style == 'sparse' and r.random() < 0.3:
        del out['architectures']
    wrapper = MODELS[name][2]
    is_wrapped = wrapper is not None and r.random() < 0.3
    if is_wrapped:
        text = {k: v for k, v in out.items() if k not in ('architectures', 'eos_token_id')}
        out = {'architectures': [wrapper], 'model_type': 'wrapper', 'vision_config': {},
               'text_config': text, 'eos_token_id': 2}
    with open(f'{folder}/config.json', 'w', encoding='utf-8') as f:
        json.dump(out, f, indent=1)
    return is_wrapped


def write(folder, name, model, settings, dtype, r):
    os.makedirs(folder)
    tensors = saved_tensors(model, folder, dtype, r)
    for file in os.listdir(folder):
        if file != 'config.json':
            os.remove(f'{folder}/{file}')
    if write_config(folder, name, settings, r):
        tensors = rename_for_wrapper(tensors, r)
    shards = r.choice([1, 1, 3])
    names = sorted(tensors)
    r.shuffle(names)
    if shards == 1:
        save_file(tensors, f'{folder}/model.safetensors')
        return
    weight_map = {}
    for s in range(shards):
        file = f'model-{s + 1:05}-of-{shards:05}.safetensors'
        part = {k: tensors[k] for k in names[s::shards]}
        save_file(part, f'{folder}/{file}')
        weight_map.update({k: file for k in part})
    with open(f'{folder}/model.safetensors.index.json', 'w', encoding='utf-8') as f:
        json.dump({'metadata': {}, 'weight_map': weight_map}, f)


# --- the comparison ---------------------------------------------------------------------------

def score(args, folder, ids, options, what='--logits'):
    with tempfile.TemporaryDirectory() as work:
        with open(f'{work}/ids', 'w', encoding='utf-8') as f:
            f.write(' '.join(map(str, ids)))
        line = [args.bin, 'score', '--model', folder, '--tokens', f'{work}/ids', what,
                f'{work}/rows', '--threads', '1', *options]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120)
        if done.returncode:
            return done.stderr.strip() or f'exit {done.returncode}'
        with open(f'{work}/rows', 'rb') as f:
            return torch.frombuffer(bytearray(f.read()), dtype=torch.float32)


def prompts(r, settings):
    lengths = [1, r.randrange(2, 30)]
    original = settings.get('original_max_position_embeddings')
    scaling = settings.get('rope_scaling') or {}
    if original:
        lengths += [original, original + 1, original + r.randrange(2, 20)]
    elif scaling.get('rope_type') == 'dynamic':
        lengths += [settings['max_position_embeddings'] + 20]
        lengths = [n for n in lengths if n < 400]
    else:
        lengths += [r.randrange(40, 100)]
    return [[r.randrange(settings['vocab_size']) for _ in range(n)] for n in lengths]


def worst(got, wanted, is_mixture, loose):
    """The largest difference in deviations of the logits; a router's near tie, which rounding may
    turn over, costs a few rows where rounding is coarse."""
    difference = (got.view(wanted.shape) - wanted).abs().max(dim=1).values
    if is_mixture and loose:
        difference = difference.sort().values[:max(1, int(len(difference) * 0.6))]
    if torch.isnan(difference).any():
        return float('inf')
    return float(difference.max()) / max(1.0, float(wanted.std()))


def draw(name, seed, r):
    """Settings, number type and the model."""
    settings = MODELS[name][1](r)
    dtype = r.choice([torch.float32, torch.float32, torch.bfloat16, torch.float16])
    return settings, dtype, build(name, dict(settings), seed, dtype)


def check(args, name, seed):
    r = random.Random(f'{name} {seed}')
    try:
        settings, dtype, model = draw(name, seed, r)
    except (ValueError, RuntimeError, TypeError, KeyError) as refused:
        return f'transformers: {str(refused)[:90]}', None
    folder = f'{args.keep}/{name}.{seed}' if args.keep else f'{args.work}/model'
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, name, model, settings, dtype, r)
    ways = [(['--kernels', 'scalar'], TIGHT), ([], LOOSE)]
    if not args.quick:
        ways += [(['--kernels', 'scalar', '--tp', '2'], TIGHT),
                 (['--kernels', 'scalar', '--tp', '3'], TIGHT)]
        if settings['num_hidden_layers'] > 1:
            ways += [(['--kernels', 'scalar', '--pp', '2'], TIGHT)]
    is_mixture = any('expert' in key for key in settings)
    for ids in prompts(r, settings):
        wanted = reference(model, ids)
        for options, limit in ways:
            got = score(args, folder, ids, options)
            if isinstance(got, str):
                return None, f'{" ".join(options)}: {got}'
            if got.numel() != wanted.numel():
                return None, f'{got.numel()} logits instead of {wanted.numel()}'
            off = worst(got, wanted, is_mixture, limit == LOOSE)
            if off > limit:
                return None, f'{len(ids)} tokens, {" ".join(options) or "default"}: off by {off:.2e}'
    return None, None


def draw_encoder(name, seed, r):
    """Settings and a base model, as saved by itself; it mostly sees both ways."""
    settings = MODELS[name][1](r)
    if r.random() < 0.7:
        key = 'use_bidirectional_attention' if name == 'gemma3_text' else 'is_causal'
        settings[key] = name == 'gemma3_text'
    return settings, build(name, dict(settings), seed, torch.float32).model


def save_encoder(folder, model, settings):
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    with open(f'{folder}/config.json', encoding='utf-8') as f:
        config = json.load(f)
    config.update({k: settings[k] for k in ('is_causal',) if k in settings})
    with open(f'{folder}/config.json', 'w', encoding='utf-8') as f:
        json.dump(config, f)


def check_encoder(args, name, seed):
    r = random.Random(f'{name} {seed} encoder')
    folder = f'{args.keep}/{name}.{seed}.encoder' if args.keep else f'{args.work}/encoder'
    try:
        settings, model = draw_encoder(name, seed, r)
    except (ValueError, RuntimeError, TypeError, KeyError) as refused:
        return f'transformers: {str(refused)[:90]}', None
    save_encoder(folder, model, settings)
    ranks = ['--tp', '2', '--pp', str(min(2, settings['num_hidden_layers']))]
    for length in (1, r.randrange(2, 40), 100):
        ids = [r.randrange(settings['vocab_size']) for _ in range(length)]
        with torch.no_grad():
            wanted = model(torch.tensor([ids]), use_cache=False).last_hidden_state[0].float()
        for options, limit in [(['--kernels', 'scalar'], TIGHT), ([], LOOSE),
                               (['--kernels', 'scalar', *ranks], TIGHT)]:
            got = score(args, folder, ids, options, '--hidden')
            if isinstance(got, str):
                return None, f'{" ".join(options)}: {got}'
            off = worst(got, wanted, any('expert' in key for key in settings), limit == LOOSE)
            if off > limit:
                return None, f'{length} tokens, {" ".join(options) or "default"}: off by {off:.2e}'
    return None, None


# One of each that shows the architecture's oddities: windows, groups, biases, odd heads, scaling.
REVEALING = {'llama': 1606, 'mistral': 461, 'mixtral': 2297, 'qwen2': 714, 'qwen2_moe': 561,
             'qwen3': 291, 'qwen3_moe': 268, 'gemma': 1327, 'gemma2': 1564, 'gemma3_text': 76,
             'phi3': 1377, 'glm': 78, 'glm4': 136, 'glm4_moe': 1861, 'deepseek_v2': 176,
             'deepseek_v3': 2048, 'gpt_oss': 210}


def make(folder):
    for name, seed in REVEALING.items():
        r = random.Random(f'{name} {seed}')
        settings, dtype, model = draw(name, seed, r)
        path = f'{folder}/{name}'
        shutil.rmtree(path, ignore_errors=True)
        write(path, name, model, settings, dtype, r)
        ids = max(prompts(r, settings), key=len)[:32]
        if 'dynamic' in str(settings.get('rope_scaling')):
            ids = (ids * 3)[:settings['max_position_embeddings'] + 8]
        with open(f'{path}.golden.json', 'w', encoding='utf-8') as f:
            json.dump({'vocabulary': settings['vocab_size'], 'ids': ids}, f)
        with open(f'{path}.golden.f32', 'wb') as f:
            f.write(reference(model, ids).numpy().tobytes())
        print(path)


def defaults():
    """What transformers assumes for keys that a config leaves out."""
    result = {}
    for name, (model_class, _, _) in MODELS.items():
        config = getattr(transformers, model_class).config_class()
        result[name] = json.loads(config.to_json_string(use_diff=False))
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--bin')
    parser.add_argument('--make')
    parser.add_argument('--seeds', default='0:20')
    parser.add_argument('--only', default='')
    parser.add_argument('--keep')
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--encoders', action='store_true')
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    DEFAULTS.update(defaults())
    if args.make:
        make(args.make)
        return
    if not args.bin:
        parser.error('--bin is missing')
    first, last = map(int, args.seeds.split(':'))
    failed = passed = refused = 0
    with tempfile.TemporaryDirectory() as args.work:
        for seed in range(first, last):
            for name in MODELS:
                if args.only not in name:
                    continue
                not_possible, wrong = (check_encoder if args.encoders else check)(args, name, seed)
                refused += not_possible is not None
                passed += not_possible is None and wrong is None
                failed += wrong is not None
                if wrong:
                    print(f'FAIL {name} {seed}: {wrong}', flush=True)
                elif not_possible and args.keep:
                    print(f'     {name} {seed}: {not_possible}', flush=True)
    print(f'{passed} models passed, {failed} failed, {refused} were not possible')
    sys.exit(1 if failed or not passed else 0)


DEFAULTS = {}
if __name__ == '__main__':
    main()
