#!/usr/bin/env python3
"""Compare a real model with what transformers said about exactly that file.

usage: check_real.py --bin NODE_AGENT --golden real/NAME.json --model FILE [--kernels NAME]
       [--tokens N] [--prompts N] [--chats N] [--extra '--tp 2']

With --kernels scalar (float32 activations): top-5 logits of every prompt within 2e-3, perplexity
within 0.01 %, greedy text equal up to the first near tie (top1 - top2 < 0.005). Otherwise (8-bit
activations): perplexity within 1 %, the likeliest token equal where its lead is above 1.0.
--tokens, --prompts and --chats take only the first N of each. Exits 77 when the golden data or the
model file is not there (CTest: skipped).
"""
import argparse
import array
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile

SKIPPED = 77
NEAR_TIE = 0.005
CLEAR_LEAD = 1.0


class Checker:
    def __init__(self, args):
        self.args = args
        self.exact = args.kernels == 'scalar'
        self.passed = self.failed = 0
        self.work = tempfile.TemporaryDirectory()

    def report(self, ok, name, detail):
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            print(f'  FAIL {name}: {detail}')

    def path(self, name):
        return os.path.join(self.work.name, name)

    def run(self, command, ids, *more):
        with open(self.path('ids'), 'w') as f:
            f.write(' '.join(map(str, ids)))
        line = [self.args.bin, command, '--model', self.args.model, '--tokens', self.path('ids'),
                '--threads', '2', '--json', *more, *self.args.extra.split()]
        if self.args.kernels:
            line += ['--kernels', self.args.kernels]
        done = subprocess.run(line, capture_output=True, text=True, timeout=600)
        if done.returncode:
            sys.exit(f'{" ".join(line)}: {done.stderr.strip()}')
        return json.loads(done.stdout.splitlines()[-1])

    def last_logits(self, ids):
        path = self.path('logits')
        self.run('score', ids, '--logits', path)
        row = os.path.getsize(path) // len(ids)
        logits = array.array('f')
        with open(path, 'rb') as f:
            f.seek(-row, os.SEEK_END)
            logits.frombytes(f.read())
        return logits

    def check_prompt(self, prompt):
        logits = self.last_logits(prompt['ids'])
        top = prompt['hf_top5']
        name = f'prompt {prompt["text"][:24]!r}'
        if self.exact:
            worst = max(abs(logits[i] - value) for i, value in top)
            self.report(worst <= 2e-3, name, f'top-5 logits off by {worst:.2e}')
        elif top[0][1] - top[1][1] > CLEAR_LEAD:
            best = max(range(len(logits)), key=logits.__getitem__)
            self.report(best == top[0][0], name, f'likeliest is {best}, not {top[0][0]}')

    def check_perplexity(self, golden):
        ids = golden['ids'][:self.args.tokens]
        nll = sum(golden['hf_nll'][:len(ids) - 1])
        got = self.run('score', ids)
        if self.exact:
            off, limit = abs(got['nll_sum'] / nll - 1), 1e-4
        else:
            off, limit = abs(got['perplexity'] / math.exp(nll / (len(ids) - 1)) - 1), 1e-2
        print(f'  {len(ids)} tokens: perplexity {got["perplexity"]:.5f}, off by {100 * off:.4f} %')
        self.report(off <= limit, 'perplexity', f'off by {100 * off:.4f} %, limit {100 * limit} %')

    def check_greedy(self, chat):
        wanted, gaps = chat['hf_greedy'], chat['hf_gap']
        safe = next((i for i, gap in enumerate(gaps) if gap < NEAR_TIE), len(gaps))
        got = self.run('run', chat['ids'], '--max-tokens', str(len(wanted)), '--temperature', '0',
                       '--ignore-eos')['ids']
        same = next((i for i, (a, b) in enumerate(zip(got, wanted)) if a != b), len(wanted))
        self.report(same >= safe, f'greedy {chat["messages"][-1]["content"][:24]!r}',
                    f'differs at {same}, must be equal up to {safe}')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--bin', required=True)
    parser.add_argument('--golden', required=True)
    parser.add_argument('--model', required=True)
    parser.add_argument('--kernels')
    for what in ('tokens', 'prompts', 'chats'):
        parser.add_argument(f'--{what}', type=int)
    parser.add_argument('--extra', default='')
    args = parser.parse_args()
    for path in (args.golden, args.model):
        if not os.path.exists(path):
            print(f'skipped: {path} is not there')
            sys.exit(SKIPPED)
    with open(args.golden, encoding='utf-8') as f:
        golden = json.load(f)
    with open(args.model, 'rb') as f:
        if hashlib.sha256(f.read()).hexdigest() != golden['sha256']:
            sys.exit(f'{args.model} is not the file that {args.golden} describes')

    checker = Checker(args)
    for prompt in golden['prompts'][:args.prompts]:
        checker.check_prompt(prompt)
    checker.check_perplexity(golden['perplexity'])
    if checker.exact:
        for chat in golden['chats'][:args.chats]:
            checker.check_greedy(chat)
    print(f'{golden["model"]}: {checker.passed} passed, {checker.failed} failed')
    sys.exit(1 if checker.failed or not checker.passed else 0)


main()
