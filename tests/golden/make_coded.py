#!/usr/bin/env python3
"""Make the models of tests/golden/data/models whose weights are codes and scales in several tensors.

usage: make_coded.py OUT_FOLDER      (needs torch, transformers, safetensors)

Tiny random Llamas as safetensors folders: F8 with block, row and tensor scales, GPTQ, AWQ and
compressed-tensors' packed integers; and one as PyTorch shards. The logits are transformers' own, in float32, from the weights
that the codes mean. Deterministic: the same script makes the same bytes with the same libraries.
"""
import json
import os
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

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
    ins = weight.shape[1]
    group_of = np.arange(ins) // group
    if shuffled:
        group_of = np.random.default_rng(len(stem)).permutation(group_of)
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


def packed(stem, weight, bits, group, symmetric):
    codes, scales, zeros, meant = quantise(weight, np.arange(weight.shape[1]) // group, bits,
                                           symmetric)
    tensors = {'weight_packed': pack_rows(codes.T, bits).T, 'weight_scale': scales.T,
               'weight_shape': np.array(weight.shape, np.int64)}
    if not symmetric:
        tensors['weight_zero_point'] = pack_rows(zeros.T, bits)
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


MODELS = {
    'f8_blocks': (160, {'quant_method': 'fp8', 'weight_block_size': [128, 128],
                        'activation_scheme': 'dynamic'},
                  lambda stem, weight: f8(stem, weight, (128, 128))),
    'f8_small_blocks': (96, {'quant_method': 'fp8', 'weight_block_size': [24, 40]},
                        lambda stem, weight: f8(stem, weight, (24, 40))),
    'f8_rows': (96, {'quant_method': 'compressed-tensors', 'format': 'float-quantized'},
                write_f8_rows),
    'gptq': (96, {'quant_method': 'gptq', 'bits': 4, 'group_size': 32, 'checkpoint_format': 'gptq'},
             write_gptq(1)),
    'gptq_v2': (96, {'quant_method': 'gptq', 'bits': 4, 'checkpoint_format': 'gptq_v2'},
                write_gptq(2)),
    'awq': (96, {'quant_method': 'awq', 'bits': 4, 'group_size': 32, 'version': 'gemm',
                 'zero_point': True},
            lambda stem, weight: awq(stem, weight, 32)),
    'packed': (96, {'quant_method': 'compressed-tensors', 'format': 'pack-quantized'},
               lambda stem, weight: packed(stem, weight, 8 if 'down' in stem else 4, 32,
                                           'up' in stem)),
    'torch_shards': (32, {'quant_method': 'compressed-tensors', 'format': 'float-quantized'},
                     write_f8_rows),
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


def make(path, ffn, quantisation, write, seed):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=ffn, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-5,
        max_position_embeddings=1024, rope_theta=10000.0, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=False, attn_implementation='eager')
    model = LlamaForCausalLM(config).float().eval()
    tensors = {}
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() == 1:
                value.copy_(1 + 0.2 * torch.randn_like(value))
            else:
                value.copy_(torch.randn_like(value) * 1.5 / value.shape[1] ** 0.5)
            if name.startswith('model.layers') and value.dim() == 2:
                coded, meant = write(name.removesuffix('.weight'), value.double().numpy())
                value.copy_(torch.tensor(meant))
                tensors.update(coded)
            else:
                value.copy_(value.half().float())
                tensors[name] = value.half().clone()
        ids = torch.randint(0, VOCABULARY, (1, PROMPT_LENGTH))
        logits = model(ids).logits[0].numpy().astype('<f4')
    os.makedirs(path, exist_ok=True)
    if path.endswith('torch_shards'):
        save_shards(path, tensors)
    else:
        save_file({n: t.contiguous() for n, t in tensors.items()}, f'{path}/model.safetensors')
    with open(f'{path}/config.json', 'w') as f:
        json.dump({'architectures': ['LlamaForCausalLM'], 'model_type': 'llama',
                   'hidden_act': 'silu', 'vocab_size': VOCABULARY, 'hidden_size': 64,
                   'intermediate_size': ffn, 'num_hidden_layers': 2, 'num_attention_heads': 4,
                   'num_key_value_heads': 2, 'head_dim': 16, 'rms_norm_eps': 1e-5,
                   'max_position_embeddings': 1024, 'rope_theta': 10000.0, 'bos_token_id': 1,
                   'eos_token_id': 2, 'tie_word_embeddings': False, 'torch_dtype': 'float16',
                   'quantization_config': quantisation}, f, indent=1)
    with open(f'{path}.golden.json', 'w') as f:
        json.dump({'vocabulary': VOCABULARY, 'ids': ids[0].tolist()}, f)
    logits.tofile(f'{path}.golden.f32')
    print(path, 'logits of standard deviation', float(logits.std()))


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    for seed, (name, (ffn, quantisation, write)) in enumerate(MODELS.items()):
        make(f'{out}/{name}', ffn, quantisation, write, seed)


if __name__ == '__main__':
    main()
