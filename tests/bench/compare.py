"""Interleaved rounds of our bench, llama.cpp's and the machine's limits, over synthetic models; one table.

Called by compare.sh. Each round runs the limits and both sides once, in turn; what counts is the median over
the rounds of the ratio within a round. A fraction is of the limit that binds: for prefill and batches the
multiply-adds of the type's instructions (a token takes two operations a weight, the output matrix once a
prompt), for single decode the bytes of packed weights and KV by the read bandwidth of a plain loop.
"""
import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys

from synthetic_model import SHAPES, Writer

PROMPT_TOKENS, GEN_TOKENS, BATCHES = 512, 128, (8, 32)
BATCH_PROMPT_TOKENS = 32
RUN_LIMIT_S = 1800
# Bits of a weight as our kernels hold it, and the limit that its products meet.
TYPES = {'Q4_0': (5, 'int8'), 'Q4_1': (5.5, 'int8'), 'Q4_K': (5.125, 'int8'), 'Q8_0': (9, 'int8'),
         'Q6_K': (9.75, 'int8'), 'F16': (16, 'fma'), 'BF16': (16, 'bf16'), 'F32': (32, 'fma')}


def output_of(command):
    command = shlex.split(os.environ.get('RUN_WITH', '')) + command
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_LIMIT_S)
    if done.returncode != 0:
        sys.exit(f'{" ".join(command)}: exit code {done.returncode}\n{done.stderr.strip()}')
    return done.stdout


def weights_of(shape):
    """(in the layers, in the output matrix)"""
    q, kv = shape['heads'] * shape['head'], shape['kv_heads'] * shape['head']
    layer = shape['hidden'] * (2 * q + 2 * kv + 3 * shape['ffn'])
    return shape['layers'] * layer, shape['vocabulary'] * shape['hidden']


def ours(args, model, threads, context):
    command = [args.ours, 'bench', '--model', model, '--threads', str(threads), '--kernels', args.kernels,
               '--repeat', '1', '--json', '--kv-type', 'f16']
    tests = ['--prompt-tokens', str(args.prompt_tokens), '--gen-tokens', str(args.gen_tokens),
             '--batch', ','.join(map(str, BATCHES))]
    if context:
        tests += ['--context', str(context)]
    lines = [json.loads(line) for line in output_of(command + tests).splitlines() if line.startswith('{')]
    return {line['test']: line['tokens_per_s'] for line in lines}


def llama(args, model, threads, context):
    command = [args.llama, '-m', model, '-t', str(threads), '-r', '1', '-o', 'json']
    runs = json.loads(output_of(command + ['-p', str(args.prompt_tokens), '-n', str(args.gen_tokens)]))
    if context:
        runs += json.loads(output_of(command + ['-p', '0', '-n', str(args.gen_tokens), '-d', str(context)]))
    result = {}
    for run in runs:
        name = f'pp{run["n_prompt"]}' if run['n_prompt'] else f'tg{run["n_gen"]}'
        result[name + (f'@{run["n_depth"]}' if run.get('n_depth') else '')] = run['avg_ts']
    cells = max(BATCHES) * (BATCH_PROMPT_TOKENS + args.gen_tokens)
    lines = output_of([args.llama_batched, '-m', model, '-t', str(threads), '-npp', str(BATCH_PROMPT_TOKENS),
                       '-ntg', str(args.gen_tokens), '-npl', ','.join(map(str, BATCHES)), '-c', str(cells),
                       '--output-format', 'jsonl'])
    for line in lines.splitlines():
        if line.startswith('{'):
            run = json.loads(line)
            result[f'batch{run["pl"]}'] = run['speed_tg']
    return result


def limits(args, threads):
    """{read GB/s; fma, int8, bf16 Gop/s}, of the vectors that the kernels use"""
    text = output_of([args.limits, '--threads', str(threads), '--only', 'machine'])
    figures = {name: float(value) for name, value in
               re.findall(r'(read|fma avx2|int8 avx2|fma avx512|vnni|bf16) ([\d.]+)', text)}
    wide = args.kernels != 'avx2' and 'vnni' in figures
    fma = figures['fma avx512' if wide else 'fma avx2']
    return {'read': figures['read'], 'fma': fma, 'int8': figures['vnni' if wide else 'int8 avx2'],
            'bf16': figures.get('bf16', fma) if wide else fma}


def fraction(test, tokens_per_s, kind, shape, limit):
    layers, output = weights_of(shape)
    bits, ops_limit = TYPES[kind]
    if test.startswith('tg'):
        context = int(test.partition('@')[2] or 0)
        kv = 2 * shape['kv_heads'] * shape['head'] * shape['layers'] * 2 * context
        return tokens_per_s * ((layers + output) * bits / 8 + kv) * 1e-9 / limit['read']
    per_token = 2 * (layers if test.startswith('pp') else layers + output)
    return tokens_per_s * per_token * 1e-9 / limit[ops_limit]


def compare(args, name, kind, threads, model):
    rounds = []
    for number in range(args.rounds):
        print(f'{name} {kind}, threads {threads}: round {number + 1} of {args.rounds}', file=sys.stderr, flush=True)
        sides = [('ours', ours), ('llama', llama)]
        results = {'limit': limits(args, threads)}
        for side, run in sides if number % 2 == 0 else sides[::-1]:
            results[side] = run(args, model, threads, args.context)
        rounds.append(results)
    for test in rounds[0]['ours']:
        yield {'shape': name, 'type': kind, 'threads': threads, 'test': test,
               'ours': statistics.median(r['ours'][test] for r in rounds),
               'llama': statistics.median(r['llama'][test] for r in rounds),
               'ratio': statistics.median(r['ours'][test] / r['llama'][test] for r in rounds),
               'fraction': statistics.median(
                   fraction(test, r['ours'][test], kind, SHAPES[name], r['limit']) for r in rounds)}


def show(args, row):
    if args.json:
        print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
    else:
        print(f'| {row["shape"]} | {row["type"]} | {row["threads"]} | {row["test"]} | {row["ours"]:.1f} | '
              f'{row["llama"]:.1f} | {row["ratio"]:.2f} | {row["fraction"]:.2f} |', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for program in 'ours', 'limits', 'llama', 'llama-batched', 'folder':
        parser.add_argument(f'--{program}', required=True)
    parser.add_argument('--shapes', default=','.join(SHAPES))
    parser.add_argument('--types', default='Q4_0,Q4_1,Q8_0,Q4_K,F16,BF16')
    parser.add_argument('--threads', default='1,2')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--prompt-tokens', type=int, default=PROMPT_TOKENS)
    parser.add_argument('--gen-tokens', type=int, default=GEN_TOKENS)
    parser.add_argument('--kernels', default='auto')
    parser.add_argument('--context', type=int, default=0, help='also decode after so many tokens')
    parser.add_argument('--json', action='store_true')
    args = parser.parse_args()
    if not args.json:
        print('| model | type | threads | test | ours, tokens/s | llama.cpp | ratio | of the limit |\n' + '|---' * 8 + '|')
    for name in args.shapes.split(','):
        for kind in args.types.split(','):
            model = os.path.join(args.folder, f'{name}-{kind}.gguf')
            Writer(model, SHAPES[name], kind).write()
            try:
                for threads in map(int, args.threads.split(',')):
                    for row in compare(args, name, kind, threads, model):
                        show(args, row)
            finally:
                os.remove(model)


if __name__ == '__main__':
    main()
