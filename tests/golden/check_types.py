#!/usr/bin/env python3
"""Check that every number format of GGUF is read right in every place that a tensor can have.

usage: check_types.py --bin NODE_AGENT [--only SUBSTRING]

Small models are written with random blocks of one format in every matrix whose rows are whole
blocks, or in every tensor if it is plain: embeddings, outputs, attention apart, fused and latent,
MLPs apart and fused, experts apart and fused, in either version of the file. What the blocks mean
is said by `convert --type f32`, whose arithmetic the reference data of quant/ proves. The F32 file
must have the same logits under the scalar kernels, and nearly those under the default ones, which
round activations to 8 bits.
"""
import argparse
import array
import os
import random
import struct
import subprocess
import sys
import tempfile

EXACT = 1e-5   # of the logits' deviation: the same numbers, another order of sums
ROUNDED = 0.25  # the middle one of the rows' root mean squares: a mixture may choose otherwise
HIDDEN, WIDTH, VOCABULARY, LAYERS = 256, 256, 24, 2
HEADS, KV_HEADS, HEAD = 4, 2, 64
EXPERTS, EXPERTS_USED = 3, 2
LATENT, PLAIN, ROTATED = 256, 32, 32
IDS = [3, 17, 4, 4, 21, 0, 9, 13, 1, 8, 22, 5]

# name: number in the file, elements and bytes of a block, (offset, size) of its half-precision
# scales; the sizes make weights of about 1 / sqrt(HIDDEN), whatever the other bits are.
BLOCKS = {
    'q4_0': (2, 32, 18, [(0, 0.013)]), 'q4_1': (3, 32, 20, [(0, 0.013), (2, -0.1)]),
    'q5_0': (6, 32, 22, [(0, 0.0065)]), 'q5_1': (7, 32, 24, [(0, 0.0065), (2, -0.1)]),
    'q8_0': (8, 32, 34, [(0, 0.0008)]), 'q2_k': (10, 256, 84, [(80, 0.004), (82, 0.006)]),
    'q3_k': (11, 256, 110, [(108, 0.0014)]), 'q4_k': (12, 256, 144, [(0, 0.00025), (2, 0.0019)]),
    'q5_k': (13, 256, 176, [(0, 0.00012), (2, 0.0019)]), 'q6_k': (14, 256, 210, [(208, 4.4e-5)]),
    'iq4_nl': (20, 32, 18, [(0, 0.0009)]), 'iq4_xs': (23, 256, 136, [(0, 4.8e-5)]),
    'mxfp4': (39, 32, 17, [])}
FLOATS = {'f32': 0, 'f16': 1, 'bf16': 30}


def pack(values, kind):
    if kind == 'bf16':
        return b''.join(struct.pack('<f', v)[2:] for v in values)
    return struct.pack(f'<{len(values)}{"e" if kind == "f16" else "f"}', *values)


def random_blocks(r, kind, count):
    """That many blocks out of a pool of different ones, which every tensor enters elsewhere."""
    number, _, size, scales = BLOCKS[kind]
    pool = []
    for _ in range(251):
        block = bytearray(r.randbytes(size))
        for offset, scale in scales:
            block[offset:offset + 2] = struct.pack('<e', scale * r.uniform(0.5, 1.5))
        if kind == 'mxfp4':  # the scale is a power of two
            block[0] = r.randrange(119, 123)
        pool.append(bytes(block))
    start = r.randrange(len(pool))
    return b''.join(pool[(start + i) % len(pool)] for i in range(count))


def tensor(r, name, shape, kind):
    """Number of the type and the bytes; F32 where the format does not fit. Biases are never blocks,
    not even those of experts, which are matrices."""
    elements = 1
    for size in shape:
        elements *= size
    is_matrix = len(shape) > 1 and name.endswith('.weight')
    if kind in BLOCKS and is_matrix and shape[-1] % BLOCKS[kind][1] == 0:
        return BLOCKS[kind][0], random_blocks(r, kind, elements // BLOCKS[kind][1])
    mean, deviation = (0, HIDDEN ** -0.5) if is_matrix else (name.endswith('norm.weight'), 0.3)
    values = [r.gauss(mean, deviation) for _ in range(elements)]
    kind = kind if kind in FLOATS else 'f32'
    return FLOATS[kind], pack(values, kind)


# --- the models: keys and shapes by name, of layer `i` where it says so -----------------------

def keys(**more):
    return {'block_count': LAYERS, 'context_length': 512, 'embedding_length': HIDDEN,
            'feed_forward_length': WIDTH, 'attention.head_count': HEADS,
            'attention.head_count_kv': KV_HEADS, 'attention.key_length': HEAD,
            'attention.value_length': HEAD, 'attention.layer_norm_rms_epsilon': 1e-5, **more}


def mixture(**more):
    return keys(expert_count=EXPERTS, expert_used_count=EXPERTS_USED,
                expert_feed_forward_length=WIDTH, **more)


ROWS = {'q': HEADS * HEAD, 'k': KV_HEADS * HEAD, 'v': KV_HEADS * HEAD}


def attention(i):
    """Apart in the first layer, fused in the second."""
    output = {'attn_norm.weight': [HIDDEN], 'attn_output.weight': [HIDDEN, HEADS * HEAD]}
    if i:
        return {**output, 'attn_qkv.weight': [sum(ROWS.values()), HIDDEN],
                'attn_qkv.bias': [sum(ROWS.values())]}
    return {**output, **{f'attn_{x}.weight': [n, HIDDEN] for x, n in ROWS.items()},
            **{f'attn_{x}.bias': [n] for x, n in ROWS.items()}}


def mlp(suffix=''):
    return {f'ffn_gate{suffix}.weight': [WIDTH, HIDDEN], f'ffn_up{suffix}.weight': [WIDTH, HIDDEN],
            f'ffn_down{suffix}.weight': [HIDDEN, WIDTH]}


def experts(i):
    """Gates and ups apart in the first layer, fused in the second."""
    tensors = {n.replace('.weight', '_exps.weight'): [EXPERTS, *s] for n, s in mlp().items()}
    if i:
        del tensors['ffn_gate_exps.weight'], tensors['ffn_up_exps.weight']
        tensors['ffn_gate_up_exps.weight'] = [EXPERTS, 2 * WIDTH, HIDDEN]
    return {**tensors, 'ffn_gate_inp.weight': [EXPERTS, HIDDEN]}


def llama(i):
    return {**attention(i), 'ffn_norm.weight': [HIDDEN], **mlp()}


def phi3(i):
    biases = [f'attn_{x}.bias' for x in [*ROWS, 'qkv']]
    return {**{n: s for n, s in attention(i).items() if n not in biases},
            'ffn_norm.weight': [HIDDEN], 'ffn_up.weight': [2 * WIDTH, HIDDEN],
            'ffn_down.weight': [HIDDEN, WIDTH]}


def qwen2moe(i):
    return {**attention(i), 'ffn_norm.weight': [HIDDEN], **experts(i), **mlp('_shexp'),
            'ffn_gate_inp_shexp.weight': [HIDDEN]}


def gpt_oss(i):
    return {**attention(i), **experts(0), 'attn_output.bias': [HIDDEN],
            'post_attention_norm.weight': [HIDDEN], 'attn_sinks.weight': [HEADS],
            'ffn_gate_inp.bias': [EXPERTS], 'ffn_gate_exps.bias': [EXPERTS, WIDTH],
            'ffn_up_exps.bias': [EXPERTS, WIDTH], 'ffn_down_exps.bias': [EXPERTS, HIDDEN]}


def deepseek2(i):
    """Keys and values of the latents together, as older files have them, and apart."""
    tensors = {'attn_norm.weight': [HIDDEN], 'ffn_norm.weight': [HIDDEN], **experts(i),
               **mlp('_shexp'), 'exp_probs_b.bias': [EXPERTS],
               'attn_q_a.weight': [LATENT, HIDDEN], 'attn_q_a_norm.weight': [LATENT],
               'attn_q_b.weight': [HEADS * (PLAIN + ROTATED), LATENT],
               'attn_kv_a_mqa.weight': [LATENT + ROTATED, HIDDEN],
               'attn_kv_a_norm.weight': [LATENT], 'attn_output.weight': [HIDDEN, HEADS * HEAD]}
    if i:
        return {**tensors, 'attn_k_b.weight': [HEADS, LATENT, PLAIN],
                'attn_v_b.weight': [HEADS, HEAD, LATENT]}
    return {**tensors, 'attn_kv_b.weight': [HEADS * (PLAIN + HEAD), LATENT]}


MODELS = {  # name: settings, tensors of a layer, is the embedding the output matrix too?
    'llama': (keys(), llama, False), 'phi3': (keys(), phi3, True),
    'qwen2moe': (mixture(expert_shared_feed_forward_length=WIDTH), qwen2moe, False),
    'gpt-oss': (mixture(**{'attention.sliding_window': 4}), gpt_oss, False),
    'deepseek2': (mixture(**{
        'attention.q_lora_rank': LATENT, 'attention.kv_lora_rank': LATENT,
        'rope.dimension_count': ROTATED, 'attention.key_length_mla': PLAIN + ROTATED,
        'attention.value_length_mla': HEAD, 'expert_shared_count': 1, 'expert_gating_func': 2}),
        deepseek2, False)}


def shapes_of(model):
    _, layer, tied = MODELS[model]
    shapes = {'token_embd.weight': [VOCABULARY, HIDDEN], 'output_norm.weight': [HIDDEN]}
    if not tied:
        shapes['output.weight'] = [VOCABULARY, HIDDEN]
    for i in range(LAYERS):
        shapes.update({f'blk.{i}.{name}': shape for name, shape in layer(i).items()})
    return shapes


# --- the file ---------------------------------------------------------------------------------

def text(value):
    return struct.pack('<Q', len(value)) + value.encode()


def pair(key, value):
    if isinstance(value, str):
        return text(key) + struct.pack('<I', 8) + text(value)
    if isinstance(value, float):
        return text(key) + struct.pack('<If', 6, value)
    return text(key) + struct.pack('<II', 4, value)


def write(path, model, kind):
    r = random.Random(f'{model} {kind}')
    shapes, settings = shapes_of(model), MODELS[model][0]
    pairs = pair('general.architecture', model)
    for key, value in settings.items():
        pairs += pair(f'{model}.{key}', value)
    table, data = b'', b''
    for name in r.sample(sorted(shapes), len(shapes)):  # in any order
        number, stored = tensor(r, name, shapes[name], kind)
        table += text(name) + struct.pack('<I', len(shapes[name]))
        table += struct.pack(f'<{len(shapes[name])}Q', *reversed(shapes[name]))
        table += struct.pack('<IQ', number, len(data))
        data += stored + bytes(-len(stored) % 32)
    head = struct.pack('<4sIQQ', b'GGUF', r.choice([2, 3]), len(shapes), len(settings) + 1)
    head += pairs + table
    with open(path, 'wb') as f:
        f.write(head + bytes(-len(head) % 32) + data)


# --- the comparison ---------------------------------------------------------------------------

def run(args, *options):
    done = subprocess.run([args.bin, *options], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def logits(args, work, model, *options):
    run(args, 'score', '--model', model, '--tokens', f'{work}/ids', '--logits', f'{work}/logits',
        '--threads', '1', *options)
    values = array.array('f')
    with open(f'{work}/logits', 'rb') as f:
        values.frombytes(f.read())
    return values


def mean_square(values):
    return (sum(v * v for v in values) / len(values)) ** 0.5


def check(args, work, model, kind):
    write(f'{work}/blocks.gguf', model, kind)
    run(args, 'convert', '--model', f'{work}/blocks.gguf', '--out', f'{work}/f32.gguf', '--type',
        'f32', '--threads', '1')
    wanted = logits(args, work, f'{work}/f32.gguf', '--kernels', 'scalar')
    exact = logits(args, work, f'{work}/blocks.gguf', '--kernels', 'scalar')
    rounded = logits(args, work, f'{work}/blocks.gguf')
    deviation = mean_square(wanted)
    if not deviation > 0.05:
        raise RuntimeError(f'logits of {deviation:.1e} show nothing')
    worst = max(abs(a - b) if a == a else float('inf') for a, b in zip(exact, wanted))
    if not worst <= EXACT * max(1, deviation):
        raise RuntimeError(f'off by {worst:.1e}')
    rows = sorted(mean_square([a - b for a, b in zip(rounded[i:i + VOCABULARY],
                                                     wanted[i:i + VOCABULARY])]) / deviation
                  for i in range(0, len(wanted), VOCABULARY))
    if not rows[len(rows) // 2] <= ROUNDED:
        raise RuntimeError(f'default kernels off by {rows[len(rows) // 2]:.2f} of the deviation')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--bin', required=True)
    parser.add_argument('--only', default='')
    args = parser.parse_args()
    cases = [(m, k) for m in MODELS for k in [*BLOCKS, *FLOATS] if args.only in f'{m} {k}']
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        with open(f'{work}/ids', 'w', encoding='utf-8') as f:
            f.write(' '.join(map(str, IDS)))
        for model, kind in cases:
            try:
                check(args, work, model, kind)
            except RuntimeError as error:
                failed += 1
                print(f'  FAIL {model} of {kind}: {error}', flush=True)
            for file in ('blocks.gguf', 'f32.gguf'):
                if os.path.exists(f'{work}/{file}'):
                    os.remove(f'{work}/{file}')
    print(f'{len(cases)} pairs of model and format, {failed} wrong')
    sys.exit(1 if failed or not cases else 0)


main()
