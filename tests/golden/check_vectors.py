#!/usr/bin/env python3
"""Pooled hidden states of a tiny model against transformers' (float32), over ranks.

usage: check_vectors.py --bin NODE_AGENT [--extra '--tp 2']

data/models/qwen3.vectors.json was made by transformers' AutoModel: last_hidden_state of the ids, pooled
and normalized in float64.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data/models/qwen3')
TOLERANCE = 1e-3
CASES = {'last': ['--pooling', 'last'], 'cls': ['--pooling', 'cls'], 'mean': ['--pooling', 'mean'],
         'mean_raw': ['--pooling', 'mean', '--normalize', 'no'],
         'mean_8': ['--pooling', 'mean', '--dimensions', '8']}


def write_tokenizer(folder):
    """One token a byte: the ids are given, but an engine wants one."""
    plain = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    names = {b: chr(b) for b in plain}
    names.update({b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in plain)})
    level = {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True, 'use_regex': True}
    with open(f'{folder}/tokenizer.json', 'w', encoding='utf-8') as f:
        json.dump({'version': '1.0', 'added_tokens': [], 'normalizer': None, 'pre_tokenizer': level,
                   'post_processor': None, 'decoder': level,
                   'model': {'type': 'BPE', 'merges': [], 'vocab': {n: b for b, n in names.items()}}}, f)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--bin', required=True)
    parser.add_argument('--extra', default='')
    args = parser.parse_args()
    with open(f'{MODEL}.vectors.json', encoding='utf-8') as f:
        golden = json.load(f)
    failed = False
    with tempfile.TemporaryDirectory() as work:
        folder, ids = f'{work}/model', f'{work}/ids'
        shutil.copytree(MODEL, folder)
        write_tokenizer(folder)
        with open(ids, 'w') as f:
            f.write(' '.join(map(str, golden['ids'])))
        for name, options in CASES.items():
            line = [args.bin, 'embed', '--model', folder, '--tokens', ids, '--json', '--threads', '2',
                    *options, *args.extra.split()]
            done = subprocess.run(line, capture_output=True, text=True, timeout=60)
            if done.returncode:
                print(f'  FAIL {name}: {done.stderr.strip()}')
                failed = True
                continue
            got, wanted = json.loads(done.stdout), golden[name]
            worst = max(abs(a - b) for a, b in zip(got['values'], wanted))
            near = cosine(got['values'], wanted)
            right = (len(got['values']) == len(wanted) and worst < TOLERANCE and near > 1 - 1e-6
                     and got['prompt_tokens'] == len(golden['ids']))
            print(f'  {"ok" if right else "FAIL"} {name}: off by {worst:.1e}, cosine {near:.8f}')
            failed |= not right
    sys.exit(failed)


if __name__ == '__main__':
    main()
