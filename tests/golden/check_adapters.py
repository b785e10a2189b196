#!/usr/bin/env python3
"""Check the logits of tiny models with LoRA adapters, for any number of ranks and from a GGUF file.

usage: check_adapters.py --bin NODE_AGENT [--only SUBSTRING] [DEGREES...]

tests/golden/data/adapters are what make_adapters.py had PEFT write and compute. The logits are
compared with scalar and default kernels, also of the model converted to GGUF, which holds the rows
of some projections in another order. Every one of DEGREES ('--tp 3', say) must give the same bytes
as one rank, also where the weights read activations in 8 bits and only the adapter floats.
"""
import argparse
import array
import glob
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOLERANCE = 1e-3  # of float32 arithmetic, for logits of a standard deviation around 1


def read_floats(path):
    values = array.array('f')
    with open(path, 'rb') as f:
        values.frombytes(f.read())
    return values


class Checker:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.checks = self.failed = 0

    def node_agent(self, *line):
        done = subprocess.run([self.args.bin, *line], capture_output=True, text=True, timeout=300)
        if done.returncode:
            sys.exit(f'{" ".join(line)}: {done.stderr.strip()}')

    def logits(self, model, ids, adapter, *more):
        ids_path, path = f'{self.work}/ids', f'{self.work}/logits'
        with open(ids_path, 'w') as f:
            f.write(' '.join(map(str, ids)))
        self.node_agent('score', '--model', model, '--tokens', ids_path, '--logits', path,
                        '--threads', '2', '--adapter', adapter, *more)
        return read_floats(path)

    def say(self, what, wrong):
        self.checks += 1
        if wrong:
            self.failed += 1
            print(f'  FAIL {what}: {wrong}')

    def close(self, what, got, wanted):
        if len(got) != len(wanted):
            return self.say(what, f'{len(got)} logits instead of {len(wanted)}')
        mean = sum(wanted) / len(wanted)
        deviation = (sum((v - mean) ** 2 for v in wanted) / len(wanted)) ** 0.5
        worst = max(abs(a - b) if a == a else float('inf') for a, b in zip(got, wanted))
        limit = TOLERANCE * max(1, deviation)
        self.say(what, f'logits off by {worst:.2e}, limit {limit:.2e}' if worst > limit else None)

    def check(self, golden_path):
        adapter = golden_path.removesuffix('.golden.json')
        name = os.path.basename(adapter)
        with open(golden_path, encoding='utf-8') as f:
            golden = json.load(f)
        model, ids = f'{HERE}/data/models/{golden["model"]}', golden['ids']
        wanted = read_floats(f'{adapter}.golden.f32')
        self.close(f'{name}, scalar', self.logits(model, ids, adapter, '--kernels', 'scalar'),
                   wanted)
        self.close(name, self.logits(model, ids, adapter), wanted)
        self.same_for_all_degrees(name, model, ids, adapter)
        gguf = self.convert(model, 'f32')
        self.close(f'{name}, GGUF', self.logits(gguf, ids, adapter, '--kernels', 'scalar'), wanted)
        self.same_for_all_degrees(f'{name}, Q8_0', self.convert(model, 'q8_0'), ids, adapter)

    def convert(self, model, kind):
        path = f'{self.work}/{os.path.basename(model)}.{kind}.gguf'
        if not os.path.exists(path):
            self.node_agent('convert', '--model', model, '--out', path, '--type', kind)
        return path

    def same_for_all_degrees(self, what, model, ids, adapter):
        one = self.logits(model, ids, adapter)
        for degrees in self.args.degrees:
            many = self.logits(model, ids, adapter, *degrees.split())
            self.say(f'{what} {degrees}', 'differs from one rank' if many != one else None)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--bin', required=True)
    parser.add_argument('--only', default='')
    parser.add_argument('degrees', nargs='*')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        checker = Checker(args, work)
        for path in sorted(glob.glob(f'{HERE}/data/adapters/*.golden.json')):
            if args.only in os.path.basename(path):
                checker.check(path)
        print(f'{checker.checks - checker.failed} passed, {checker.failed} failed')
        sys.exit(1 if checker.failed or not checker.checks else 0)


main()
