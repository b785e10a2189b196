"""Interleaved rounds of our bench, llama.cpp's and the machine's limits, over synthetic models; one table.

Called by compare.sh. Each round runs the limits and both sides once, in turn; what counts is the median over
the rounds of the ratio within a round. A fraction is of the limit that binds: the multiply-adds of the type's
instructions (a token takes two operations a weight, the output matrix once a prompt), or the bytes of packed
weights by the read bandwidth. Of a single decode it is the forward's step beside the bandwidth read in the same
milliseconds (decode_bench), with the bytes of the KV; at --context that is the step over a cache whose contents
are made up, and llama.cpp is not asked: it would have to compute them first.
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

BATCHES = 8, 32
BATCH_PROMPT_TOKENS = 8
SHORT_CONTEXT = 64  # of the step that stands for tg
RUN_LIMIT_S = 1800
# What --quick changes: 5 rounds of one shape take some 25 minutes on two quiet cores.
FULL = {'shapes': ','.join(SHAPES), 'prompt_tokens': 512, 'gen_tokens': 128, 'steps': 41}
QUICK = {'shapes': 'llama-3.2-1b', 'prompt_tokens': 128, 'gen_tokens': 16, 'steps': 11}
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


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith('{')]


def ours(args, model, threads, everything):
    command = [args.ours, 'bench', '--model', model, '--threads', str(threads), '--kernels', args.kernels,
               '--repeat', '1', '--json', '--kv-type', 'f16', '--gen-tokens', str(args.gen_tokens)]
    command += ['--prompt-tokens', str(args.prompt_tokens if everything else 0)]
    if everything:
        command += ['--batch', ','.join(map(str, BATCHES))]
    return {line['test']: line['tokens_per_s'] for line in json_lines(output_of(command))}


def llama(args, model, threads, everything):
    command = [args.llama, '-m', model, '-t', str(threads), '-r', '1', '-o', 'json', '-n', str(args.gen_tokens)]
    result = {}
    for run in json.loads(output_of(command + ['-p', str(args.prompt_tokens if everything else 0)])):
        result[f'pp{run["n_prompt"]}' if run['n_prompt'] else f'tg{run["n_gen"]}'] = run['avg_ts']
    if everything:
        cells = max(BATCHES) * (BATCH_PROMPT_TOKENS + args.gen_tokens)
        command = [args.llama_batched, '-m', model, '-t', str(threads), '-npp', str(BATCH_PROMPT_TOKENS), '-ntg',
                   str(args.gen_tokens), '-npl', ','.join(map(str, BATCHES)), '-c', str(cells), '--output-format', 'jsonl']
        for run in json_lines(output_of(command)):
            result[f'batch{run["pl"]}'] = run['speed_tg']
    return result


def step(args, model, threads, context):
    """One decode step: tokens_per_s, read_gb_per_s, fraction."""
    return json_lines(output_of([
        args.decode, '--model', model, '--threads', str(threads), '--context', str(context), '--kernels',
        args.kernels, '--rounds', str(args.steps), '--json']))[0]


def limits(args, threads):
    """{fma, int8, bf16 Gop/s}, of the vectors that the kernels use"""
    text = output_of([args.limits, '--threads', str(threads), '--only', 'machine'])
    figures = {name: float(value) for name, value in
               re.findall(r'(fma avx2|int8 avx2|fma avx512|vnni|bf16) ([\d.]+)', text)}
    wide = args.kernels != 'avx2' and 'vnni' in figures
    fma = figures['fma avx512' if wide else 'fma avx2']
    return {'fma': fma, 'int8': figures['vnni' if wide else 'int8 avx2'],
            'bf16': figures.get('bf16', fma) if wide else fma}


def fraction(test, tokens_per_s, kind, shape, limit, read_gb_per_s):
    """Of a prefill or a batch: the least time that its products or its bytes take, by the time it took."""
    layers, output = weights_of(shape)
    bits, ops_limit = TYPES[kind]
    rows = int(re.sub(r'\D', '', test))
    ops = 2 * rows * layers + 2 * (1 if test.startswith('pp') else rows) * output
    least_s = max(ops * 1e-9 / limit[ops_limit], (layers + output) * bits / 8e9 / read_gb_per_s)
    return least_s * tokens_per_s / rows


def compare(args, name, kind, threads, model):
    """A line for each test. With --quick a single thread does nothing but decode."""
    everything, rounds = not args.quick or threads > 1, []
    for number in range(args.rounds):
        print(f'{name} {kind}, threads {threads}: round {number + 1} of {args.rounds}', file=sys.stderr, flush=True)
        sides = [('ours', ours), ('llama', llama)]
        results = {'limit': limits(args, threads) if everything else None}
        for side, run in sides if number % 2 == 0 else sides[::-1]:
            results[side] = run(args, model, threads, everything)
        results['step'] = step(args, model, threads, SHORT_CONTEXT)
        results['deep'] = step(args, model, threads, args.context)
        rounds.append(results)

    def middle(figure):
        return statistics.median(figure(r) for r in rounds)

    line = {'shape': name, 'type': kind, 'threads': threads}
    for test in rounds[0]['ours']:
        yield {**line, 'test': test, 'ours': middle(lambda r: r['ours'][test]),
               'llama': middle(lambda r: r['llama'][test]),
               'ratio': middle(lambda r: r['ours'][test] / r['llama'][test]),
               'fraction': middle(lambda r: r['step']['fraction'] if test.startswith('tg') else fraction(
                   test, r['ours'][test], kind, SHAPES[name], r['limit'], r['step']['read_gb_per_s']))}
    yield {**line, 'test': f'step at {args.context}', 'ours': middle(lambda r: r['deep']['tokens_per_s']),
           'llama': None, 'ratio': None, 'fraction': middle(lambda r: r['deep']['fraction'])}
    yield {**line, 'test': 'read, GB/s', 'ours': middle(lambda r: r['step']['read_gb_per_s']), 'llama': None,
           'ratio': None, 'fraction': None}


def show(args, row):
    if args.json:
        print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
        return
    cells = [row['shape'], row['type'], row['threads'], row['test']]
    cells += ['' if row[key] is None else f'{row[key]:.{digits}f}'
              for key, digits in (('ours', 1), ('llama', 1), ('ratio', 2), ('fraction', 2))]
    print('| ' + ' | '.join(map(str, cells)) + ' |', flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for program in 'ours', 'limits', 'decode', 'llama', 'llama-batched', 'folder':
        parser.add_argument(f'--{program}', required=True)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--shapes')
    parser.add_argument('--types', default='Q4_0,Q4_1,Q8_0,Q4_K,F16,BF16')
    parser.add_argument('--threads', default='1,2')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--prompt-tokens', type=int)
    parser.add_argument('--gen-tokens', type=int)
    parser.add_argument('--steps', type=int, help='of decode_bench, in a round')
    parser.add_argument('--kernels', default='auto')
    parser.add_argument('--context', type=int, default=8192)
    parser.add_argument('--json', action='store_true')
    args = parser.parse_args()
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def main():
    args = arguments()
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
