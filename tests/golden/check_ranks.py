#!/usr/bin/env python3
"""Check that any number of ranks gives the same answer as one, bit for bit.

usage: check_ranks.py --bin NODE_AGENT [--ranks 'PROGRAM ARGUMENTS'] [--kernels NAME] [--model FILE]
       [--golden real/NAME.json] [--only SUBSTRING] [--texts N] DEGREES...

DEGREES are options such as '--tp 3' or '--tp 2 --pp 2'. Of every tiny model (our own, and those of
$PX_GOLDEN or ../shared/golden where they are) the logits of a prompt must be the same bytes; of the
real model, where it and its golden data are there, the greedy answers to all chats and prompts the
same ids. --ranks is what starts several ranks (mpirun, say); else they are threads. --only takes the
tiny models with that in their name, --texts only the first N chats and prompts.
"""
import argparse
import glob
import json
import os
import shlex
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
IDS = [(i * 7 + 3) % 60 for i in range(40)]
GREEDY_TOKENS = 48


class Checker:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.checks = self.failed = 0

    def run(self, command, model, ids, degrees, *more):
        path = os.path.join(self.work, 'ids')
        with open(path, 'w') as f:
            f.write(' '.join(map(str, ids)))
        line = [command, '--model', model, '--tokens', path, '--json', '--kernels',
                self.args.kernels, *more, *degrees.split()]
        launch = shlex.split(self.args.ranks) if degrees and self.args.ranks else [self.args.bin]
        done = subprocess.run([*launch, *line], capture_output=True, text=True, timeout=300)
        if done.returncode:
            sys.exit(f'{" ".join(line)}: {done.stderr.strip()}')
        return json.loads(done.stdout.splitlines()[-1])

    def logits(self, model, degrees):
        path = os.path.join(self.work, 'logits')
        self.run('score', model, IDS, degrees, '--logits', path)
        with open(path, 'rb') as f:
            return f.read()

    def greedy(self, model, ids, degrees):
        return self.run('run', model, ids, degrees, '--max-tokens', str(GREEDY_TOKENS),
                        '--temperature', '0', '--ignore-eos')['ids']

    def compare(self, name, answer):
        """`answer` of degrees must be that of one rank."""
        one = answer('')
        for degrees in self.args.degrees:
            self.checks += 1
            if answer(degrees) != one:
                self.failed += 1
                print(f'  FAIL {name}: {degrees} differs from one rank')


def tiny_models(reference):
    """Folders and GGUF files."""
    own = [p.removesuffix('.golden.json')
           for p in glob.glob(f'{HERE}/data/models/*.golden.json')]
    folders = glob.glob(f'{reference}/tiny/*/config.json')
    ggufs = glob.glob(f'{reference}/tiny_gguf/**/*.gguf', recursive=True)
    return sorted(own) + sorted(map(os.path.dirname, folders)) + sorted(ggufs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--bin', required=True)
    parser.add_argument('--ranks', default='')
    parser.add_argument('--kernels', default='auto')
    parser.add_argument('--model', default='')
    parser.add_argument('--golden', default='')
    parser.add_argument('--only', default='')
    parser.add_argument('--texts', type=int)
    parser.add_argument('degrees', nargs='+')
    args = parser.parse_args()
    reference = os.environ.get('PX_GOLDEN') or os.path.join(HERE, '../../../shared/golden')

    with tempfile.TemporaryDirectory() as work:
        checker = Checker(args, work)
        models = [m for m in tiny_models(reference) if args.only in os.path.basename(m)]
        for model in models:
            checker.compare(os.path.basename(model), lambda d: checker.logits(model, d))
        print(f'logits of {len(models)} models', flush=True)
        if os.path.exists(args.model) and os.path.exists(args.golden):
            with open(args.golden, encoding='utf-8') as f:
                golden = json.load(f)
            texts = (golden['chats'] + golden['prompts'])[:args.texts]
            for number, text in enumerate(texts):
                checker.compare(f'text {number}',
                                lambda d: checker.greedy(args.model, text['ids'], d))
            print(f'greedy answers to {len(texts)} texts')
        print(f'{checker.checks - checker.failed} passed, {checker.failed} failed')
        sys.exit(1 if checker.failed or not checker.checks else 0)


main()
