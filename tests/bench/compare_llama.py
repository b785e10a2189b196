"""Interleaved rounds of our bench and llama.cpp's, and of two ranks and one process; a table of ratios.

Called by compare-llama.sh. The machine is shared and its speed wanders, so every round runs every
side once, and what counts is the median over the rounds of the ratio within a round.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

PROMPT_TOKENS, GEN_TOKENS = 512, 128
RUN_LIMIT_S = 300


def output_of(command):
    env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT='1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM='1')
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=RUN_LIMIT_S)
    if done.returncode != 0:
        sys.exit(f'{" ".join(command)}: exit code {done.returncode}\n{done.stderr.strip()}')
    return done.stdout


def ours(args, threads, ranks=1):
    """{test: tokens per second} of one run of node-agent bench."""
    command = [args.ours, 'bench', '--model', args.model, '--threads', str(threads), '--repeat', '1', '--json',
               '--prompt-tokens', str(PROMPT_TOKENS), '--gen-tokens', str(GEN_TOKENS)]
    if ranks > 1:
        command = ['mpirun', '--oversubscribe', '-n', str(ranks)] + command
    lines = [json.loads(line) for line in output_of(command).splitlines() if line.startswith('{')]
    return {line['test']: line['tokens_per_s'] for line in lines}


def llama(args, threads):
    """The same of llama-bench, which also warms up before it counts."""
    command = [args.llama, '-m', args.model, '-t', str(threads), '-p', str(PROMPT_TOKENS),
               '-n', str(GEN_TOKENS), '-r', '1', '-o', 'json']
    result = {}
    for run in json.loads(output_of(command)):
        name = f'pp{run["n_prompt"]}' if run['n_prompt'] else f'tg{run["n_gen"]}'
        result[name] = run['avg_ts']
    return result


def compare(args, title, sides):
    """sides: [(name, run)], the second is what the first is measured against."""
    rounds = []
    for number in range(args.rounds):
        if sys.stderr.isatty():
            print(f'\r{title}: round {number + 1} of {args.rounds}', end='', file=sys.stderr, flush=True)
        order = sides if number % 2 == 0 else sides[::-1]
        rounds.append({name: run() for name, run in order})
    if sys.stderr.isatty():
        print('\r' + ' ' * 70 + '\r', end='', file=sys.stderr)
    (first, _), (second, _) = sides
    rows = []
    for test in sorted(rounds[0][first]):
        ratios = [r[first][test] / r[second][test] for r in rounds]
        rows.append({'compare': title, 'test': test,
                     first: statistics.median(r[first][test] for r in rounds),
                     second: statistics.median(r[second][test] for r in rounds),
                     'ratio': statistics.median(ratios), 'ratio_min': min(ratios), 'ratio_max': max(ratios)})
    return first, second, rows


def show(args, first, second, rows):
    for row in rows:
        if args.json:
            print(json.dumps({key: round(value, 3) if isinstance(value, float) else value
                              for key, value in row.items()}), flush=True)
        else:
            print(f'{row["compare"]:<22} {row["test"]:<6} {first} {row[first]:8.1f}   {second} {row[second]:8.1f}   '
                  f'ratio {row["ratio"]:.2f} ({row["ratio_min"]:.2f} to {row["ratio_max"]:.2f})', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--ours', required=True)
    parser.add_argument('--llama', required=True)
    parser.add_argument('--model', required=True)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', action='store_true')
    args = parser.parse_args()
    for threads in (1, 2):
        show(args, *compare(args, f'llama.cpp, {threads} thread' + 's' * (threads > 1), [
            ('phalanx', lambda: ours(args, threads)), ('llama.cpp', lambda: llama(args, threads))]))
    show(args, *compare(args, '2 ranks, 1 process', [
        ('mpirun -n 2', lambda: ours(args, 1, ranks=2)), ('2 threads', lambda: ours(args, 2))]))


if __name__ == '__main__':
    main()
