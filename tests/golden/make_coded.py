#!/usr/bin/env python3
"""Make the models of tests/golden/data/models whose weights are codes and scales in several tensors.

usage: make_coded.py OUT_FOLDER [NAME...]      (needs torch, transformers, safetensors)

Tiny random models as safetensors folders: F8 with block, row and tensor scales, GPTQ, AWQ and
compressed-tensors' packed integers; and one as PyTorch shards. Most are Llamas; one is a mixture and
some have latent attention. The logits are transformers' own, in float32, from the weights that the codes
mean. Deterministic: the same script makes the same bytes with the same libraries.
"""
import json
import os
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, DeepseekV3Config, LlamaConfig, Qwen2MoeConfig

VOCABULARY, PROMPT_LENGTH = 96, 21
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # the output that each nibble of a word holds


# --- codes into words ---

def pack_rows(codes, bits):
    """[n, columns] numbers of some bits -> int32 words, each column one little-endian stream."""
    flat = ((codes[:, None, :] >> np.arange(bits)[None, :, None]) & 1).reshape(-1, codes.shape[1])
    words = flat.reshape(-1, 32, codes.shape[1]).astype(np.uint64)
    words = (words << np.arange(32, dtype=np.uint64)[None, :, None]).sum(axis=1)
    return words.astype(np.uint32).view(np.int32)


def pack_awq(codes):
    """[n, outputs] -> int32 [n, outputs / 8] in AWQ's order."""
    eights = codes.reshape(codes.shape[0], -1, 8)[:, :, AWQ_ORDER].astype(np.uint64)
    words = (eights << (4 * np.arange(8, dtype=np.uint64))).sum(axis=2)
    return words.astype(np.uint32).view(np.int32)


def quantise(weight, group_of, bits, symmetric):
    """weight [out, in] -> codes [out, in], scales and zeros [groups, out], what they mean."""
    groups, most = int(group_of.max()) + 1, 2 ** bits - 1
    scales = np.zeros((groups, weight.shape[0]), np.float16)
    zeros = np.zeros((groups, weight.shape[0]), np.int64)
    for g in range(groups):
        part = weight[:, group_of == g]
        low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
        if symmetric:
            scales[g] = (2 * np.abs(part).max(1) / most).astype(np.float16)
            zeros[g] = 2 ** (bits - 1)
        else:
            scales[g] = ((high - low) / most).astype(np.float16)
            zeros[g] = np.clip(np.rint(-low / scales[g].astype(np.float64)), 0, most)
    scale, zero = scales.astype(np.float64)[group_of].T, zeros[group_of].T
    codes = np.clip(np.rint(weight / scale) + zero, 0, most).astype(np.int64)
    return codes, scales, zeros, (codes - zero) * scale


# --- ways of writing a linear layer: (name, weight [out, in]) -> tensors, what they mean ---

def gptq(stem, weight, bits, group, symmetric, shuffled, version):
    """`shuffled`: False, True (an order for each length of a stem), or the number of an order."""
    ins = weight.shape[1]
    group_of = np.arange(ins) // group
    if shuffled:
        seed = len(stem) if shuffled is True else shuffled
        group_of = np.random.default_rng(seed).permutation(group_of)
    codes, scales, zeros, meant = quantise(weight, group_of, bits, symmetric)
    stored = pack_rows(zeros.T, bits).T
    if version == 1:  # one less, word by word with borrows, as gptqmodel does; three bits each alone
        if bits == 3:
            stored = pack_rows((zeros.T - 1) & 7, bits).T
        else:
            ones = np.uint32(sum(1 << i for i in range(0, 32, bits)))
            stored = (stored.view(np.uint32) - ones).view(np.int32)
    tensors = {'qweight': pack_rows(codes.T, bits), 'qzeros': stored, 'scales': scales,
               'g_idx': group_of.astype(np.int32)}
    return {f'{stem}.{n}': torch.tensor(np.ascontiguousarray(t)) for n, t in tensors.items()}, meant


def awq(stem, weight, group):
    codes, scales, zeros, meant = quantise(weight, np.arange(weight.shape[1]) // group, 4, False)
    tensors = {'qweight': pack_awq(codes.T), 'qzeros': pack_awq(zeros), 'scales': scales}
    return {f'{stem}.{n}': torch.tensor(np.ascontiguousarray(t)) for n, t in tensors.items()}, meant


def packed(stem, weight, bits, group, symmetric, shuffled=False):
    group_of = np.arange(weight.shape[1]) // group
    if shuffled:
        group_of = np.random.default_rng(len(stem)).permutation(group_of)
    codes, scales, zeros, meant = quantise(weight, group_of, bits, symmetric)
    tensors = {'weight_packed': pack_rows(codes.T, bits).T, 'weight_scale': scales.T,
               'weight_shape': np.array(weight.shape, np.int64)}
    if not symmetric:
        tensors['weight_zero_point'] = pack_rows(zeros.T, bits)
    if shuffled:
        tensors['weight_g_idx'] = group_of.astype(np.int32)
    return {f'{stem}.{n}': torch.tensor(np.ascontiguousarray(t)) for n, t in tensors.items()}, meant


def f8(stem, weight, block, kind=torch.float8_e4m3fn, scale_name='weight_scale_inv',
       scale_type=torch.float32):
    weight = torch.tensor(weight)
    most = 127 if kind == torch.int8 else torch.finfo(kind).max
    rows, cols = block or weight.shape
    scales = torch.zeros(-(-weight.shape[0] // rows), -(-weight.shape[1] // cols))
    spread = torch.zeros_like(weight)
    for r in range(scales.shape[0]):
        for c in range(scales.shape[1]):
            at = np.s_[r * rows:(r + 1) * rows, c * cols:(c + 1) * cols]
            scales[r, c] = (weight[at].abs().max() / most).to(scale_type).float()
            spread[at] = scales[r, c]
    codes = (weight / spread.clamp(min=1e-12)).clamp(-most, most)
    codes = codes.round().to(kind) if kind == torch.int8 else codes.float().to(kind)
    meant = codes.double() * spread.double()
    scales = scales.to(scale_type)
    if block is None:
        scales = scales.reshape(())
    return {f'{stem}.weight': codes, f'{stem}.{scale_name}': scales}, meant.numpy()


# --- models ---

def write_gptq(version):
    """Every width, with groups in order and not."""
    ways = {'q_proj': (4, 32, False, False), 'k_proj': (8, 32, True, False),
            'v_proj': (4, 64, True, True), 'o_proj': (4, 32, False, False),
            'gate_proj': (3, 32, False, False), 'up_proj': (2, 32, False, False),
            'down_proj': (4, 32, False, True)}

    def write(stem, weight):
        bits, group, symmetric, shuffled = ways[stem.split('.')[-1]]
        return gptq(stem, weight, bits, group, symmetric, shuffled, version)
    return write


def write_gptq_shuffled(stem, weight):
    """All in orders of their own or shared, groups not all of whole blocks or of one size."""
    ways = {'q_proj': (4, 32, False, 7), 'k_proj': (8, 24, True, 8), 'v_proj': (4, 24, False, 7),
            'o_proj': (3, 32, False, 9), 'gate_proj': (2, 32, False, 10),
            'up_proj': (4, 32, True, 11), 'down_proj': (4, 40, False, 12)}
    return gptq(stem, weight, *ways[stem.split('.')[-1]], 1)


def write_gptq_plainly(stem, weight):
    """Four bits, every module shuffled: an expert's as its number says, so that gate and up share
    an order, as what has the same inputs does."""
    parts = stem.split('.')
    expert = int(parts[-2]) if parts[-2].isdigit() else 50
    down = parts[-1] in ('down_proj', 'o_proj')
    return gptq(stem, weight, 4, 32 if down else 16, False, 100 + 2 * expert + down, 1)


def write_f8_rows(stem, weight):
    """A scale for each row, and other codes in places."""
    part = stem.split('.')[-1]
    if part == 'k_proj':
        return f8(stem, weight, None, scale_name='weight_scale')
    if part == 'v_proj':
        return f8(stem, weight, (1, weight.shape[1]), torch.float8_e5m2, 'weight_scale')
    if part == 'o_proj':
        return f8(stem, weight, (1, weight.shape[1]), torch.int8, 'weight_scale')
    return f8(stem, weight, (1, weight.shape[1]), scale_name='weight_scale',
              scale_type=torch.bfloat16)


def llama(ffn, bias=False):
    return LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=ffn, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-5,
        max_position_embeddings=1024, rope_theta=10000.0, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=False, attention_bias=bias, mlp_bias=bias,
        attn_implementation='eager')


def mixture():
    return Qwen2MoeConfig(
        vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, bos_token_id=1, eos_token_id=2,
        num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48,
        shared_expert_intermediate_size=64, tie_word_embeddings=False, attn_implementation='eager')


def latent():
    return DeepseekV3Config(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=1024, bos_token_id=1,
        eos_token_id=2, q_lora_rank=32, kv_lora_rank=48, qk_nope_head_dim=32, qk_rope_head_dim=16,
        v_head_dim=32, n_routed_experts=4, num_experts_per_tok=2, n_group=1, topk_group=1,
        n_shared_experts=1, moe_intermediate_size=32, first_k_dense_replace=1,
        tie_word_embeddings=False, attn_implementation='eager')


GPTQ = {'quant_method': 'gptq', 'bits': 4, 'group_size': 32, 'checkpoint_format': 'gptq'}
ACT_ORDER = {**GPTQ, 'desc_act': True}
MODELS = {
    'f8_blocks': (llama(160), {'quant_method': 'fp8', 'weight_block_size': [128, 128],
                               'activation_scheme': 'dynamic'},
                  lambda stem, weight: f8(stem, weight, (128, 128))),
    'f8_small_blocks': (llama(96), {'quant_method': 'fp8', 'weight_block_size': [24, 40]},
                        lambda stem, weight: f8(stem, weight, (24, 40))),
    'f8_rows': (llama(96), {'quant_method': 'compressed-tensors', 'format': 'float-quantized'},
                write_f8_rows),
    'gptq': (llama(96), GPTQ, write_gptq(1)),
    'gptq_v2': (llama(96), {'quant_method': 'gptq', 'bits': 4, 'checkpoint_format': 'gptq_v2'},
                write_gptq(2)),
    'awq': (llama(96), {'quant_method': 'awq', 'bits': 4, 'group_size': 32, 'version': 'gemm',
                        'zero_point': True},
            lambda stem, weight: awq(stem, weight, 32)),
    'packed': (llama(96), {'quant_method': 'compressed-tensors', 'format': 'pack-quantized'},
               lambda stem, weight: packed(stem, weight, 8 if 'down' in stem else 4, 32,
                                           'up' in stem)),
    'torch_shards': (llama(32), {'quant_method': 'compressed-tensors', 'format': 'float-quantized'},
                     write_f8_rows),
    'gptq_shuffled': (llama(96, bias=True), ACT_ORDER, write_gptq_shuffled),
    'awq_small_groups': (llama(96), {'quant_method': 'awq', 'bits': 4, 'group_size': 16,
                                     'version': 'gemm', 'zero_point': True},
                         lambda stem, weight: awq(stem, weight, 16)),
    'packed_shuffled': (llama(96), {'quant_method': 'compressed-tensors',
                                    'format': 'pack-quantized'},
                        lambda stem, weight: packed(stem, weight, 8 if 'down' in stem else 4, 32,
                                                    'up' in stem, shuffled=True)),
    'gptq_mixture': (mixture(), ACT_ORDER, write_gptq_plainly),
    'gptq_latent': (latent(), ACT_ORDER, write_gptq_plainly),
    'f8_latent': (latent(), {'quant_method': 'fp8', 'weight_block_size': [32, 32]},
                  lambda stem, weight: f8(stem, weight, (32, 32))),
}


def save_shards(path, tensors):
    """As pytorch_model.bin's two shards and their index; scales are not in order in memory."""
    names, weight_map = list(tensors), {}
    for shard in range(2):
        file = f'pytorch_model-{shard + 1:05}-of-00002.bin'
        part = {n: tensors[n] for n in names[shard::2]}
        for n, t in part.items():
            weight_map[n] = file
            if n.endswith('_scale') and t.dim() == 2:
                part[n] = t.repeat(1, 2)[:, :1]
        torch.save(part, f'{path}/{file}')
    with open(f'{path}/pytorch_model.bin.index.json', 'w') as f:
        json.dump({'metadata': {}, 'weight_map': weight_map}, f, indent=1)


def linears(name, value):
    """The matrices of a parameter and what files call them: a stack of experts is one each."""
    stem, what = name.rsplit('.', 1)
    if not stem.endswith('.experts'):
        return [(stem, value)]
    parts = ['gate_proj', 'up_proj'] if what == 'gate_up_proj' else [what]
    return [(f'{stem}.{e}.{part}', rows) for e, expert in enumerate(value)
            for part, rows in zip(parts, expert.chunk(len(parts)))]


def is_coded(name, value):
    return name.startswith('model.layers') and value.dim() > 1 and 'gate.weight' not in name


def fill(model, write):
    """Random weights; what the file has of them."""
    tensors = {}
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith('.bias') or 'correction' in name:
            value.copy_(0.2 * torch.randn_like(value))
        elif value.dim() == 1 and 'norm' in name:
            value.copy_(1 + 0.2 * torch.randn_like(value))
        elif value.dim() > 1:
            value.copy_(torch.randn_like(value) * 1.5 / value.shape[-1] ** 0.5)
        else:
            continue  # rotation frequencies
        if is_coded(name, value):
            for stem, matrix in linears(name, value):
                coded, meant = write(stem, matrix.double().numpy())
                matrix.copy_(torch.tensor(meant))
                tensors.update(coded)
        else:
            value.copy_(value.half().float())
            tensors[name] = value.half().clone()
    return tensors


def build(name):
    """The model as transformers has it, with the weights that the codes mean, and its file's tensors."""
    config, _, write = MODELS[name]
    torch.manual_seed(list(MODELS).index(name))
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        return model, fill(model, write)


def make(path, name):
    config, quantisation, _ = MODELS[name]
    model, tensors = build(name)
    with torch.no_grad():
        ids = torch.randint(0, VOCABULARY, (1, PROMPT_LENGTH))
        logits = model(ids).logits[0].numpy().astype('<f4')
    os.makedirs(path, exist_ok=True)
    if path.endswith('torch_shards'):
        save_shards(path, tensors)
    else:
        save_file({n: t.contiguous() for n, t in tensors.items()}, f'{path}/model.safetensors')
    settings = {**config.to_dict(), 'architectures': [type(model).__name__],
                'torch_dtype': 'float16', 'quantization_config': quantisation}
    with open(f'{path}/config.json', 'w') as f:
        json.dump(settings, f, indent=1)
    with open(f'{path}.golden.json', 'w') as f:
        json.dump({'vocabulary': VOCABULARY, 'ids': ids[0].tolist()}, f)
    logits.tofile(f'{path}.golden.f32')
    print(path, 'logits of standard deviation', float(logits.std()))


def main():
    out, only = sys.argv[1], sys.argv[2:]
    os.makedirs(out, exist_ok=True)
    for name in MODELS:
        if not only or name in only:
            make(f'{out}/{name}', name)


if __name__ == '__main__':
    main()
