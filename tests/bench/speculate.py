"""Guessing beside not guessing, in turn, with a real model: tokens per second and whether the answers
are the same.

    speculate.py --ours build/bin/node-agent --model MODEL [--draft MODEL] [--rounds 5] [--run-with 'chrt -f 10']

One JSON object for each prompt and temperature; exit code 1 when an answer differs.
"""
import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile

CODE = '''int sum_of_squares(const int *values, int count)
{
    int total = 0;
    for (int i = 0; i < count; i++) {
        total += values[i] * values[i];
    }
    return total;
}

int sum_of_values(const int *values, int count)
{
    int total = 0;
    for (int i = 0; i < count; i++) {
        total += values[i];
    }
    return total;
}'''
TEXT = '''The cat sat on the mat near the old wooden door. The cat looked at the garden, where three birds were
singing in the apple tree. When the rain started, the cat ran inside and jumped on the red sofa. Later in the
evening the cat slept beside the fire while the family was reading stories about distant islands.'''
PROMPTS = {
    'code': f"Here is C code:\n\n{CODE}\n\nWrite the same code again, with 'total' renamed to 'result'.",
    'edit': f"Repeat this text exactly, but replace every 'cat' by 'dog':\n\n{TEXT}",
    'prose': 'Write a story about a lighthouse keeper who finds a strange bottle on the beach.',
}


def run(args, messages, temperature, how):
    command = shlex.split(args.run_with) + [
        args.ours, 'run', '--model', args.model, '--messages', messages, '--max-tokens', str(args.tokens),
        '--ignore-eos', '--temperature', str(temperature), '--seed', '1', '--speculate', how, '--json']
    if how == 'draft':
        command += ['--draft-model', args.draft]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(args, name, temperature, how):
    with tempfile.NamedTemporaryFile('w', suffix='.json') as file:
        json.dump([{'role': 'user', 'content': PROMPTS[name]}], file)
        file.flush()
        rounds = [(run(args, file.name, temperature, 'off'), run(args, file.name, temperature, how))
                  for _ in range(args.rounds)]
    same = all(plain['ids'] == guessed['ids'] for plain, guessed in rounds)
    last = rounds[-1][1]
    print(json.dumps({
        'prompt': name, 'temperature': temperature, 'speculate': how, 'same_answers': same,
        'off_tokens_per_s': round(statistics.median(plain['tokens_per_s'] for plain, _ in rounds), 1),
        'tokens_per_s': round(statistics.median(guessed['tokens_per_s'] for _, guessed in rounds), 1),
        'ratio': round(statistics.median(g['tokens_per_s'] / p['tokens_per_s'] for p, g in rounds), 3),
        'proposed': last['proposed'], 'accepted': last['accepted']}), flush=True)
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--ours', default='build/bin/node-agent')
    parser.add_argument('--model', required=True)
    parser.add_argument('--draft')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--tokens', type=int, default=160)
    parser.add_argument('--run-with', default='')
    args = parser.parse_args()
    ways = ['lookup'] + (['draft'] if args.draft else [])
    same = [compare(args, name, temperature, how)
            for how in ways for name in PROMPTS for temperature in (0, 0.7)]
    sys.exit(0 if all(same) else 1)


if __name__ == '__main__':
    main()
