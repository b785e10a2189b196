#!/usr/bin/env python3
"""Make tests/golden/data/models: tiny random models and the logits they must give.

usage: make_models.py OUT_FOLDER

Writes safetensors folders and a GGUF file from scratch, and computes the logits in plain Python
(double precision, no KV cache, the formulas of the papers), so the data owes nothing to the engine
it tests. Deterministic: the same script makes the same bytes.
"""
import array
import json
import math
import os
import random
import struct
import sys

VOCABULARY = 96
PROMPT_LENGTH = 21


# --- number formats: bytes of a row and what they mean ---

def f32_row(values):
    data = struct.pack(f'<{len(values)}f', *values)
    return data, list(struct.unpack(f'<{len(values)}f', data))


def bf16_row(values):
    bits = [struct.unpack('<I', struct.pack('<f', v))[0] for v in values]
    halves = [(b + 0x7FFF + (b >> 16 & 1)) >> 16 for b in bits]
    meant = [struct.unpack('<f', struct.pack('<I', h << 16))[0] for h in halves]
    return struct.pack(f'<{len(halves)}H', *halves), meant


def f16_row(values):
    data = struct.pack(f'<{len(values)}e', *values)
    return data, list(struct.unpack(f'<{len(values)}e', data))


def half(value):
    return struct.unpack('<e', struct.pack('<e', value))[0]


def q8_0_row(values):
    data, meant = b'', []
    for i in range(0, len(values), 32):
        block = values[i:i + 32]
        scale = half(max(abs(v) for v in block) / 127)
        quants = [max(-127, min(127, round(v / scale))) for v in block]
        data += struct.pack('<e32b', scale, *quants)
        meant += [scale * q for q in quants]
    return data, meant


def q4_1_row(values):
    data, meant = b'', []
    for i in range(0, len(values), 32):
        block = values[i:i + 32]
        low = half(min(block))
        scale = half((max(block) - low) / 15)
        quants = [max(0, min(15, round((v - low) / scale))) for v in block]
        packed = bytes(quants[j] | quants[j + 16] << 4 for j in range(16))
        data += struct.pack('<ee', scale, low) + packed
        meant += [scale * q + low for q in quants]
    return data, meant


ROWS = {'F32': f32_row, 'BF16': bf16_row, 'F16': f16_row, 'Q8_0': q8_0_row, 'Q4_1': q4_1_row}
GGUF_NUMBER = {'F32': 0, 'F16': 1, 'Q4_1': 3, 'Q8_0': 8, 'BF16': 30}


class Tensor:
    """A vector or matrix: `rows` are what its stored bytes mean."""

    def __init__(self, rng, shape, kind, scale=None, around=0.0):
        rows, cols = (1, shape[0]) if len(shape) == 1 else shape
        scale = scale or 1.5 / math.sqrt(cols)
        self.shape, self.kind = list(shape), kind
        self.data, self.rows = b'', []
        for _ in range(rows):
            data, meant = ROWS[kind]([around + rng.gauss(0, scale) for _ in range(cols)])
            self.data += data
            self.rows.append(meant)


# --- the model ---

def times(matrix, x):
    return [sum(w * v for w, v in zip(row, x)) for row in matrix.rows]


def plus(a, b):
    return [x + y for x, y in zip(a, b)]


def norm(weight, x, eps):
    inverse = 1 / math.sqrt(sum(v * v for v in x) / len(x) + eps)
    return [w * v * inverse for w, v in zip(weight.rows[0], x)]


def frequencies(c):
    dims, theta, scaling = c['head_dim'], c['rope_theta'], c.get('rope_scaling') or {}
    kind, factor = scaling.get('rope_type'), scaling.get('factor', 1)
    plain = [theta ** (-2 * i / dims) for i in range(dims // 2)]
    if kind == 'linear':
        return [f / factor for f in plain], 1
    if kind == 'llama3':
        original = scaling['original_max_position_embeddings']
        low, high = scaling['low_freq_factor'], scaling['high_freq_factor']
        result = []
        for f in plain:
            turns = original * f / (2 * math.pi)  # within the original context
            blend = min(1, max(0, (turns - low) / (high - low)))
            result.append(f * (blend + (1 - blend) / factor))
        return result, 1
    if kind == 'yarn':
        original = scaling['original_max_position_embeddings']

        def pair(turns):
            return dims * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))
        low, high = max(0, math.floor(pair(32))), min(dims - 1, math.ceil(pair(1)))
        result = []
        for i, f in enumerate(plain):
            slowed = min(1, max(0, (i - low) / (high - low)))
            result.append(f * (1 - slowed) + f / factor * slowed)
        return result, 0.1 * math.log(factor) + 1
    return plain, 1


def rotate(x, position, freqs, magnitude):
    """Half-split pairs (i, i + n/2), as Hugging Face stores them."""
    n, out = len(freqs), list(x)
    for i, f in enumerate(freqs):
        c, s = math.cos(position * f) * magnitude, math.sin(position * f) * magnitude
        out[i], out[i + n] = x[i] * c - x[i + n] * s, x[i + n] * c + x[i] * s
    return out


def attend(q, keys, values):
    scores = [sum(a * b for a, b in zip(q, k)) / math.sqrt(len(q)) for k in keys]
    top = max(scores)
    weights = [math.exp(s - top) for s in scores]
    total = sum(weights)
    return [sum(w * v[d] for w, v in zip(weights, values)) / total for d in range(len(values[0]))]


def forward(c, t, ids):
    """Logits of every position."""
    d, heads, kv_heads = c['head_dim'], c['num_attention_heads'], c['num_key_value_heads']
    freqs, magnitude = frequencies(c)
    rows = [list(t['embed'].rows[i]) for i in ids]
    for layer in range(c['num_hidden_layers']):
        w = {name.split('.', 1)[1]: v for name, v in t.items() if name.startswith(f'{layer}.')}

        def project(name, x):
            y = times(w[name], x)
            return plus(y, w[name + '_bias'].rows[0]) if name + '_bias' in w else y
        keys, values = [], []
        for position, x in enumerate(rows):
            h = norm(w['attn_norm'], x, c['rms_norm_eps'])
            q, k, v = project('q', h), project('k', h), project('v', h)

            def turn(name, values, i):
                head = values[i * d:(i + 1) * d]
                if name in w:
                    head = norm(w[name], head, c['rms_norm_eps'])
                return rotate(head, position, freqs, magnitude)
            q = [turn('q_norm', q, i) for i in range(heads)]
            keys.append([turn('k_norm', k, i) for i in range(kv_heads)])
            values.append([v[i * d:(i + 1) * d] for i in range(kv_heads)])
            out = []
            for i in range(heads):
                g = i // (heads // kv_heads)
                out += attend(q[i], [r[g] for r in keys], [r[g] for r in values])
            x = plus(x, project('o', out))
            h = norm(w['ffn_norm'], x, c['rms_norm_eps'])

            def mlp(prefix):
                gate, up = project(prefix + 'gate', h), project(prefix + 'up', h)
                return project(prefix + 'down', [a / (1 + math.exp(-a)) * b
                                                 for a, b in zip(gate, up)])
            if 'num_experts' not in c:
                rows[position] = plus(x, mlp(''))
                continue
            scores = times(w['router'], h)
            best = sorted(range(len(scores)), key=lambda e: -scores[e])[:c['num_experts_per_tok']]
            weights = [math.exp(scores[e] - scores[best[0]]) for e in best]
            for e, weight in zip(best, weights):
                x = plus(x, [v * weight / sum(weights) for v in mlp(f'expert{e}.')])
            rows[position] = x
    output = t.get('output', t['embed'])
    return [times(output, norm(t['final_norm'], x, c['rms_norm_eps'])) for x in rows]


def make_tensors(c, kinds, seed):
    rng = random.Random(seed)
    hidden, ffn, d = c['hidden_size'], c['intermediate_size'], c['head_dim']
    q, kv = c['num_attention_heads'] * d, c['num_key_value_heads'] * d
    kind = lambda name: kinds.get(name, kinds['default'])
    plain = 'F32' if kinds['default'] in ('Q8_0', 'Q4_1') else kinds['default']
    t = {'embed': Tensor(rng, (VOCABULARY, hidden), kind('embed'), 0.7),
         'final_norm': Tensor(rng, (hidden,), plain, 0.2, 1)}
    if not c['tie_word_embeddings']:
        t['output'] = Tensor(rng, (VOCABULARY, hidden), kind('output'))
    for i in range(c['num_hidden_layers']):
        for name in ('attn_norm', 'ffn_norm'):
            t[f'{i}.{name}'] = Tensor(rng, (hidden,), plain, 0.2, 1)
        shapes = {'q': (q, hidden), 'k': (kv, hidden), 'v': (kv, hidden), 'o': (hidden, q)}
        mlp = {'gate': (ffn, hidden), 'up': (ffn, hidden), 'down': (hidden, ffn)}
        if 'num_experts' in c:
            t[f'{i}.q_norm'] = Tensor(rng, (d,), plain, 0.2, 1)
            t[f'{i}.k_norm'] = Tensor(rng, (d,), plain, 0.2, 1)
            shapes['router'] = (c['num_experts'], hidden)
            for e in range(c['num_experts']):
                shapes.update({f'expert{e}.{name}': shape for name, shape in mlp.items()})
        else:
            shapes.update(mlp)
        for name, shape in shapes.items():
            t[f'{i}.{name}'] = Tensor(rng, shape, kind(name))
            biased = c.get('attention_bias') if len(name) == 1 else c.get('mlp_bias')
            if biased:
                t[f'{i}.{name}_bias'] = Tensor(rng, shape[:1], plain, 0.1)
    return t


# --- files ---

HF_NAMES = {'attn_norm': 'input_layernorm', 'ffn_norm': 'post_attention_layernorm',
            'q': 'self_attn.q_proj', 'k': 'self_attn.k_proj', 'v': 'self_attn.v_proj',
            'o': 'self_attn.o_proj', 'gate': 'mlp.gate_proj', 'up': 'mlp.up_proj',
            'down': 'mlp.down_proj', 'q_norm': 'self_attn.q_norm', 'k_norm': 'self_attn.k_norm',
            'router': 'mlp.gate'}
GGUF_NAMES = {'attn_norm': 'attn_norm', 'ffn_norm': 'ffn_norm', 'q': 'attn_q', 'k': 'attn_k',
              'v': 'attn_v', 'o': 'attn_output', 'gate': 'ffn_gate', 'up': 'ffn_up',
              'down': 'ffn_down'}


def file_name(name, layer_names, layer_prefix, top):
    if name in top:
        return top[name]
    layer, part = name.split('.', 1)
    base = part.removesuffix('_bias')
    if base.startswith('expert'):
        expert, what = base.removeprefix('expert').split('.')
        return f'{layer_prefix}.{layer}.mlp.experts.{expert}.{what}_proj.weight'
    return f'{layer_prefix}.{layer}.{layer_names[base]}.{"bias" if part != base else "weight"}'


def write_safetensors(path, tensors):
    header, data = {}, b''
    for name, t in tensors.items():
        header[name] = {'dtype': t.kind, 'shape': t.shape,
                        'data_offsets': [len(data), len(data) + len(t.data)]}
        data += t.data
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + data)


def write_folder(folder, c, tensors, shards):
    os.makedirs(folder, exist_ok=True)
    top = {'embed': 'model.embed_tokens.weight', 'final_norm': 'model.norm.weight',
           'output': 'lm_head.weight'}
    named = [(file_name(n, HF_NAMES, 'model.layers', top), t) for n, t in tensors.items()]
    config = {'architectures': ['LlamaForCausalLM'], 'hidden_act': 'silu', 'vocab_size': VOCABULARY, 'max_position_embeddings': 1024, 'bos_token_id': 1,
              'eos_token_id': [2, 3], **c}
    with open(f'{folder}/config.json', 'w') as f:
        json.dump(config, f, indent=1)
    if shards == 1:
        write_safetensors(f'{folder}/model.safetensors', dict(named))
        return
    weight_map = {}
    for s in range(shards):
        name = f'model-{s + 1:05}-of-{shards:05}.safetensors'
        part = dict(named[s::shards])
        write_safetensors(f'{folder}/{name}', part)
        weight_map.update({n: name for n in part})
    with open(f'{folder}/model.safetensors.index.json', 'w') as f:
        json.dump({'metadata': {}, 'weight_map': weight_map}, f, indent=1)


def gguf_string(text):
    return struct.pack('<Q', len(text)) + text.encode()


def gguf_pair(key, value):
    if isinstance(value, str):
        return gguf_string(key) + struct.pack('<I', 8) + gguf_string(value)
    if isinstance(value, float):
        return gguf_string(key) + struct.pack('<If', 6, value)
    return gguf_string(key) + struct.pack('<II', 4, value)


def permuted(t, heads):
    """Rows of q or k in the order of adjacent-pair rotation, as llama GGUFs have them."""
    row_bytes, d = len(t.data) // t.shape[0], t.shape[0] // heads
    order = [h * d + i // 2 + (i % 2) * (d // 2) for h in range(heads) for i in range(d)]
    return b''.join(t.data[r * row_bytes:(r + 1) * row_bytes] for r in order)


def write_gguf(path, c, tensors):
    top = {'embed': 'token_embd.weight', 'final_norm': 'output_norm.weight',
           'output': 'output.weight'}
    scaling = c.get('rope_scaling') or {}
    pairs = {'general.architecture': 'llama', 'general.name': 'tiny random llama',
             'llama.block_count': c['num_hidden_layers'], 'llama.context_length': 1024,
             'llama.embedding_length': c['hidden_size'],
             'llama.feed_forward_length': c['intermediate_size'],
             'llama.attention.head_count': c['num_attention_heads'],
             'llama.attention.head_count_kv': c['num_key_value_heads'],
             'llama.attention.layer_norm_rms_epsilon': float(c['rms_norm_eps']),
             'llama.attention.key_length': c['head_dim'],
             'llama.attention.value_length': c['head_dim'],
             'llama.rope.freq_base': float(c['rope_theta'])}
    if scaling:
        pairs.update({'llama.rope.scaling.type': scaling['rope_type'],
                      'llama.rope.scaling.factor': float(scaling['factor'])})
    head = struct.pack('<4sIQQ', b'GGUF', 3, len(tensors), len(pairs))
    head += b''.join(gguf_pair(k, v) for k, v in pairs.items())
    data = b''
    for name, t in tensors.items():
        data += b'\0' * (-len(data) % 32)
        head += gguf_string(file_name(name, GGUF_NAMES, 'blk', top))
        head += struct.pack(f'<I{len(t.shape)}QIQ', len(t.shape), *reversed(t.shape),
                            GGUF_NUMBER[t.kind], len(data))
        part = name.split('.')[-1]
        heads = {'q': c['num_attention_heads'], 'k': c['num_key_value_heads']}.get(part)
        data += permuted(t, heads) if heads else t.data
    head += b'\0' * (-len(head) % 32)
    with open(path, 'wb') as f:
        f.write(head + data)


def write_golden(path, c, tensors, seed):
    rng = random.Random(seed)
    ids = [rng.randrange(VOCABULARY) for _ in range(PROMPT_LENGTH)]
    logits = array.array('f', (v for row in forward(c, tensors, ids) for v in row))
    with open(f'{path}.golden.json', 'w') as f:
        json.dump({'vocabulary': VOCABULARY, 'ids': ids}, f)
    with open(f'{path}.golden.f32', 'wb') as f:
        logits.tofile(f)


MODELS = {
    'odd_heads': ({'hidden_size': 72, 'intermediate_size': 96, 'num_hidden_layers': 3,
                   'num_attention_heads': 9, 'num_key_value_heads': 3, 'head_dim': 8,
                   'rms_norm_eps': 1e-5, 'rope_theta': 10000.0, 'tie_word_embeddings': True,
                   'rope_scaling': {'rope_type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0,
                                    'high_freq_factor': 4.0,
                                    'original_max_position_embeddings': 32}},
                  {'default': 'F32'}, 1),
    'biased_shards': ({'hidden_size': 48, 'intermediate_size': 80, 'num_hidden_layers': 2,
                       'num_attention_heads': 4, 'num_key_value_heads': 2, 'head_dim': 16,
                       'rms_norm_eps': 1e-6, 'rope_theta': 500000.0,
                       'tie_word_embeddings': False, 'attention_bias': True, 'mlp_bias': True,
                       'rope_scaling': {'rope_type': 'yarn', 'factor': 4.0,
                                        'original_max_position_embeddings': 16}},
                      {'default': 'BF16', 'o': 'F16', 'down': 'F32'}, 3),
    'mixture': ({'architectures': ['Qwen3MoeForCausalLM'], 'hidden_size': 48,
                 'intermediate_size': 32, 'moe_intermediate_size': 32, 'num_hidden_layers': 2,
                 'num_attention_heads': 4, 'num_key_value_heads': 2, 'head_dim': 16,
                 'rms_norm_eps': 1e-6, 'rope_theta': 10000.0, 'tie_word_embeddings': False,
                 'num_experts': 5, 'num_experts_per_tok': 2, 'norm_topk_prob': True},
                {'default': 'F32'}, 1),
    'mixed_blocks': ({'hidden_size': 64, 'intermediate_size': 96, 'num_hidden_layers': 2,
                      'num_attention_heads': 4, 'num_key_value_heads': 2, 'head_dim': 16,
                      'rms_norm_eps': 1e-5, 'rope_theta': 10000.0, 'tie_word_embeddings': False,
                      'rope_scaling': {'rope_type': 'linear', 'factor': 2.0}},
                     {'default': 'Q8_0', 'gate': 'Q4_1', 'down': 'Q4_1', 'v': 'F16'}, 0),
}


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    for seed, (name, (c, kinds, shards)) in enumerate(MODELS.items()):
        tensors = make_tensors(c, kinds, seed)
        path = f'{out}/{name}'
        if shards:
            write_folder(path, c, tensors, shards)
        else:
            path += '.gguf'
            write_gguf(path, c, tensors)
        write_golden(path, c, tensors, seed + 100)
        print(path)


main()
