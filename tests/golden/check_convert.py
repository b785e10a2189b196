#!/usr/bin/env python3
"""Check that a converted model is the model: logits, tokens and rendered chats of the file that
`node-agent convert` wrote against those of what it was made from.

usage: check_convert.py --bin NODE_AGENT [--only SUBSTRING]

Models: tests/golden/data/models always, and tiny/ and tiny_gguf/ of the large reference set
($PX_GOLDEN or ../shared/golden beside the repository) where it exists.
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
# Equal weights: only the order of some sums may differ (rotated pairs lie elsewhere in a head).
EXACT = 1e-5
# Of the weights, root mean square: random ones fill half of a block's range.
LOSS = {'q8_0': 0.01, 'q5_0': 0.06, 'q6_k': 0.03, 'q4_k': 0.12, 'f16': 1e-3}
TEXTS = ['Hello, world!', ' two  spaces\tand\n\nlines 12345', "it's naïve: 東京 🙂🙂 <|im_start|>x<s>",
         'x' * 40, '']
CHAT = [{'role': 'user', 'content': 'Hi there'}, {'role': 'assistant', 'content': 'Yes?'},
        {'role': 'user', 'content': 'Add 2 and 3'}]


def run(args, command, *options, text=None):
    return subprocess.run([args.bin, command, *options], capture_output=True, text=True,
                          timeout=300, input=text)


def logits(args, model, work):
    ids, out = f'{work}/ids', f'{work}/logits'
    size = json.loads(run(args, 'inspect', '--model', model, '--json').stdout)['vocabulary']
    with open(ids, 'w') as f:
        f.write(' '.join(str(i * 7 % size) for i in range(40)))
    done = run(args, 'score', '--model', model, '--tokens', ids, '--logits', out, '--threads', '1',
               '--kernels', 'scalar')
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    values = array.array('f')
    with open(out, 'rb') as f:
        values.frombytes(f.read())
    return values


def text_side(args, model):
    lines = '\n'.join(json.dumps({'text': t}) for t in TEXTS)
    chat = json.dumps({'messages': CHAT, 'add_generation_prompt': True})
    return [run(args, 'tokenize', '--model', model, text=lines).stdout,
            run(args, 'tokenize', '--model', model, '--special', text=lines).stdout,
            run(args, 'render', '--model', model, text=chat).stdout]


def off_by(got, wanted):
    mean = sum(wanted) / len(wanted)
    deviation = (sum((v - mean) ** 2 for v in wanted) / len(wanted)) ** 0.5
    if len(got) != len(wanted):
        return float('inf')
    return max(abs(a - b) if a == a else float('inf') for a, b in zip(got, wanted)) / max(
        1, deviation)


def convert(args, model, kind, out):
    done = run(args, 'convert', '--model', model, '--out', out, '--type', kind, '--threads', '2',
               '--json')
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    report = json.loads(done.stdout.splitlines()[-1])
    if report['bytes'] != os.path.getsize(out):
        raise RuntimeError('the report does not tell the size of the file')
    return report['types']


def compare(args, model, wanted, work):
    worst = off_by(logits(args, model, work), wanted)
    if not worst <= EXACT:
        raise RuntimeError(f'{os.path.basename(model)}: logits off by {worst:.2e}')


def check_exact(args, model, kind, work):
    """The same weights give the same logits."""
    types = convert(args, model, kind, f'{work}/{kind}.gguf')
    erring = [name for name, t in types.items() if t['largest_error']]
    if kind == 'keep' and erring == ['f16'] and not model.endswith('.gguf'):
        return  # codes with scales of their own, which GGUF lacks
    if erring:
        raise RuntimeError(f'{kind} reports errors')
    compare(args, f'{work}/{kind}.gguf', logits(args, model, work), work)


def check_quantised(args, model, kind, work):
    """Weights lose no more than the type must; and those of the file are those it was checked for:
    made F32 they give the same logits."""
    types = convert(args, model, kind, f'{work}/{kind}.gguf')
    for name, t in types.items():
        if t['rms_error'] > LOSS.get(name, 0):
            raise RuntimeError(f'{kind}: {name} loses {t["rms_error"]:.3f}')
    convert(args, f'{work}/{kind}.gguf', 'f32', f'{work}/again.gguf')
    compare(args, f'{work}/{kind}.gguf', logits(args, f'{work}/again.gguf', work), work)


def check(args, model):
    with tempfile.TemporaryDirectory() as work:
        try:
            check_exact(args, model, 'f32', work)
            check_exact(args, model, 'keep', work)
            check_quantised(args, model, 'q8_0', work)
            check_quantised(args, model, 'q4_k', work)
        except RuntimeError as error:
            return str(error)
        left = sorted(os.listdir(work))
        if left != ['again.gguf', 'f32.gguf', 'ids', 'keep.gguf', 'logits', 'q4_k.gguf', 'q8_0.gguf']:
            return f'left behind: {left}'
        if text_side(args, model) != text_side(args, f'{work}/keep.gguf'):
            return 'tokens or chats differ'
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--bin', required=True)
    parser.add_argument('--only', default='')
    args = parser.parse_args()
    golden = os.environ.get('PX_GOLDEN') or os.path.join(HERE, '../../../shared/golden')
    models = [p.removesuffix('.golden.json')
              for p in glob.glob(f'{HERE}/data/models/*.golden.json')]
    models += [os.path.dirname(p) for p in glob.glob(f'{golden}/tiny/*/config.json')]
    models += glob.glob(f'{golden}/tiny_gguf/*.gguf')
    models = sorted(m for m in models if args.only in m)
    failed = 0
    for model in models:
        wrong = check(args, model)
        if wrong:
            failed += 1
            print(f'  FAIL {os.path.basename(model)}: {wrong}', flush=True)
    print(f'{len(models)} models converted, {failed} wrong')
    sys.exit(1 if failed or not models else 0)


main()
