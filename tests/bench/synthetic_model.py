"""Writes a GGUF with random weights in the shape of a real model, for speed alone.

    python3 synthetic_model.py SHAPE TYPE FILE      needs the PyPI packages gguf and numpy

Matrices repeat one random pool of blocks, whose scales keep activations in range; the vocabulary is that
of a byte-level tokenizer filled up with words nobody says. The output matrix is the embedding's.
"""
import argparse

import gguf
import numpy

SHAPES = {
    'llama-3.2-1b': {'arch': 'llama', 'hidden': 2048, 'layers': 16, 'heads': 32, 'kv_heads': 8, 'head': 64,
                     'ffn': 8192, 'vocabulary': 128256, 'rope_base': 500000.0},
    'qwen3-0.6b': {'arch': 'qwen3', 'hidden': 1024, 'layers': 28, 'heads': 16, 'kv_heads': 8, 'head': 128,
                   'ffn': 3072, 'vocabulary': 151936, 'rope_base': 1000000.0},
}
# Where in a block its scales lie, as float16, and how large they are for weights of about 0.02 around zero.
# Weights off zero would add the same to every output, and all prompts would have one answer.
QUANTS = {
    'Q4_0': (gguf.GGMLQuantizationType.Q4_0, {0: 0.004}),
    'Q4_1': (gguf.GGMLQuantizationType.Q4_1, {0: 0.004, 2: -0.03}),
    'Q8_0': (gguf.GGMLQuantizationType.Q8_0, {0: 0.0003}),
    'Q4_K': (gguf.GGMLQuantizationType.Q4_K, {0: 0.000125, 2: 0.001}),
    'Q6_K': (gguf.GGMLQuantizationType.Q6_K, {208: 0.00002}),
}
K_SCALES = [0x80 | 32] * 4 + [0x40 | 30] * 4 + [0xe0] * 4  # of Q4_K: eight times scale 32, min 30
FLOATS = {'F32': gguf.GGMLQuantizationType.F32, 'F16': gguf.GGMLQuantizationType.F16,
          'BF16': gguf.GGMLQuantizationType.BF16}
POOL_BYTES = 1 << 24
CONTEXT = 131072


def float_pool(kind, random):
    values = random.standard_normal(POOL_BYTES // 4, dtype=numpy.float32) * 0.02
    if kind == 'F32':
        return values.view(numpy.uint8)
    if kind == 'F16':
        return values.astype(numpy.float16).view(numpy.uint8)
    return (values.view(numpy.uint32) >> 16).astype(numpy.uint16).view(numpy.uint8)


def quant_pool(kind, random):
    qtype, scales = QUANTS[kind]
    block_bytes = gguf.GGML_QUANT_SIZES[qtype][1]
    blocks = random.integers(0, 256, (POOL_BYTES // block_bytes, block_bytes), dtype=numpy.uint8)
    if kind == 'Q4_0':  # -8 has no opposite
        for shift in 0, 4:
            blocks[(blocks >> shift & 15) == 0] |= 8 << shift
    if kind == 'Q4_K':
        blocks[:, 4:16] = K_SCALES
    size = random.uniform(0.5, 1.5, len(blocks))
    for at, factor in scales.items():
        blocks[:, at:at + 2] = (factor * size).astype(numpy.float16).view(numpy.uint8).reshape(-1, 2)
    return blocks.reshape(-1)


class Writer:
    def __init__(self, path, shape, kind):
        self.out = gguf.GGUFWriter(path, shape['arch'], use_temp_file=False)
        self.shape, self.kind = shape, kind
        self.random = numpy.random.default_rng(1)
        self.qtype = FLOATS[kind] if kind in FLOATS else QUANTS[kind][0]
        self.pool = float_pool(kind, self.random) if kind in FLOATS else quant_pool(kind, self.random)

    def matrix(self, name, rows, cols):
        elements, size = gguf.GGML_QUANT_SIZES[self.qtype]
        row_bytes = cols // elements * size
        pool = numpy.roll(self.pool, -size * int(self.random.integers(0, len(self.pool) // size)))
        data = numpy.resize(pool, rows * row_bytes).reshape(rows, row_bytes)
        self.out.add_tensor(name, data, raw_dtype=self.qtype)

    def vector(self, name, count):
        self.out.add_tensor(name, numpy.ones(count, dtype=numpy.float32))

    def settings(self):
        s, out = self.shape, self.out
        out.add_name('synthetic')
        out.add_context_length(CONTEXT)
        out.add_embedding_length(s['hidden'])
        out.add_block_count(s['layers'])
        out.add_feed_forward_length(s['ffn'])
        out.add_head_count(s['heads'])
        out.add_head_count_kv(s['kv_heads'])
        out.add_key_length(s['head'])
        out.add_value_length(s['head'])
        out.add_rope_dimension_count(s['head'])
        out.add_rope_freq_base(s['rope_base'])
        out.add_layer_norm_rms_eps(1e-5)
        out.add_vocab_size(s['vocabulary'])

    def tokenizer(self):
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        letters = [chr(b) if b in printable else None for b in range(256)]
        for number, byte in enumerate(b for b in range(256) if letters[b] is None):
            letters[byte] = chr(256 + number)
        words = letters + [letters[ord('a')] + letters[ord('b')]]
        words += [f'<word {i}>' for i in range(len(words), self.shape['vocabulary'] - 1)] + ['<end>']
        self.out.add_tokenizer_model('gpt2')
        self.out.add_tokenizer_pre('qwen2')
        self.out.add_token_list(words)
        self.out.add_token_types([gguf.TokenType.NORMAL] * (len(words) - 1) + [gguf.TokenType.CONTROL])
        self.out.add_token_merges([f'{letters[ord("a")]} {letters[ord("b")]}'])
        self.out.add_bos_token_id(len(words) - 1)
        self.out.add_eos_token_id(len(words) - 1)

    def layer(self, name):
        s = self.shape
        q, kv = s['heads'] * s['head'], s['kv_heads'] * s['head']
        self.vector(f'{name}.attn_norm.weight', s['hidden'])
        self.matrix(f'{name}.attn_q.weight', q, s['hidden'])
        self.matrix(f'{name}.attn_k.weight', kv, s['hidden'])
        self.matrix(f'{name}.attn_v.weight', kv, s['hidden'])
        if s['arch'] == 'qwen3':
            self.vector(f'{name}.attn_q_norm.weight', s['head'])
            self.vector(f'{name}.attn_k_norm.weight', s['head'])
        self.matrix(f'{name}.attn_output.weight', s['hidden'], q)
        self.vector(f'{name}.ffn_norm.weight', s['hidden'])
        self.matrix(f'{name}.ffn_gate.weight', s['ffn'], s['hidden'])
        self.matrix(f'{name}.ffn_up.weight', s['ffn'], s['hidden'])
        self.matrix(f'{name}.ffn_down.weight', s['hidden'], s['ffn'])

    def write(self):
        self.settings()
        self.tokenizer()
        self.matrix('token_embd.weight', self.shape['vocabulary'], self.shape['hidden'])
        for i in range(self.shape['layers']):
            self.layer(f'blk.{i}')
        self.vector('output_norm.weight', self.shape['hidden'])
        self.out.write_header_to_file()
        self.out.write_kv_data_to_file()
        self.out.write_tensors_to_file()
        self.out.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('shape', choices=SHAPES)
    parser.add_argument('type', choices=[*QUANTS, *FLOATS])
    parser.add_argument('file')
    args = parser.parse_args()
    Writer(args.file, SHAPES[args.shape], args.type).write()


if __name__ == '__main__':
    main()
