#!/usr/bin/env python3
"""Check the logits of tiny models, and greedy decoding where the reference set is there.

usage: check_models.py --bin NODE_AGENT [--kernels NAME] [--only SUBSTRING] [--extra '--tp 2']
                       [--kinds 'tiny gguf'] [--runner 'qemu-x86_64 -cpu Haswell']

Always: tests/golden/data/models, which make_models.py, make_coded.py and against_transformers.py
--make made. And the large reference set, in $PX_GOLDEN or ../shared/golden beside the repository,
through its own check.py, where it exists.
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


def reference_folder():
    folder = os.environ.get('PX_GOLDEN') or os.path.join(HERE, '../../../shared/golden')
    return folder if os.path.exists(os.path.join(folder, 'check.py')) else None


def read_floats(path):
    values = array.array('f')
    with open(path, 'rb') as f:
        values.frombytes(f.read())
    return values


def check_own(args, golden_path):
    """None, or what is wrong."""
    with open(golden_path, encoding='utf-8') as f:
        golden = json.load(f)
    base = golden_path.removesuffix('.golden.json')
    with tempfile.TemporaryDirectory() as work:
        ids, logits = f'{work}/ids', f'{work}/logits'
        with open(ids, 'w') as f:
            f.write(' '.join(map(str, golden['ids'])))
        # Blocks of weights want float32 activations to be comparable: the specification's.
        kernels = args.kernels or ('scalar' if base.endswith('.gguf') else 'auto')
        line = [*args.runner.split(), args.bin, 'score', '--model', base, '--tokens', ids,
                '--logits', logits, '--threads', '2', '--kernels', kernels, *args.extra.split()]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120)
        if done.returncode:
            return done.stderr.strip()
        got, wanted = read_floats(logits), read_floats(f'{base}.golden.f32')
    if len(got) != len(wanted):
        return f'{len(got)} logits instead of {len(wanted)}'
    mean = sum(wanted) / len(wanted)
    deviation = (sum((v - mean) ** 2 for v in wanted) / len(wanted)) ** 0.5
    worst = max(abs(a - b) if a == a else float('inf') for a, b in zip(got, wanted))
    limit = TOLERANCE * max(1, deviation)
    return None if worst <= limit else f'logits off by {worst:.2e}, limit {limit:.2e}'


def check_reference(args, folder):
    failed = False
    for kind in args.kinds.split():
        line = [sys.executable, f'{folder}/check.py', kind, '--bin', args.bin, '--only', args.only]
        if args.kernels:
            line += ['--kernels', args.kernels]
        if args.extra:
            line += [f'--extra={args.extra}']
        failed |= subprocess.run(line).returncode != 0
    return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--bin', required=True)
    parser.add_argument('--kernels')
    parser.add_argument('--only', default='')
    parser.add_argument('--kinds', default='tiny gguf', help='of the reference set')
    parser.add_argument('--extra', default='')
    parser.add_argument('--runner', default='', help='what runs the program on our own set')
    args = parser.parse_args()

    failed = False
    own = sorted(glob.glob(f'{HERE}/data/models/*.golden.json'))
    for path in own:
        wrong = check_own(args, path)
        failed |= wrong is not None
        if wrong:
            print(f'  FAIL {os.path.basename(path)}: {wrong}')
    print(f'own set: {len(own)} models', flush=True)
    folder = reference_folder()
    if folder:
        print('reference set: $PX_GOLDEN or ../shared/golden', flush=True)
        failed |= check_reference(args, folder)
    else:
        print('reference set: not there, own set only')
    sys.exit(1 if failed or not own else 0)


main()
