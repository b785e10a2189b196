"""How often a draft's token is the target's: drawing both with the same random number beside the best
that any rule can do.

    coupling.py --ours build/bin/node-agent --target MODEL --draft MODEL --text FILE

Rejection sampling accepts a draft's token with the probability sum(min(p, q)), which no rule can
exceed. The engine races the tokens of both with the same numbers (sample/race.h); both have token i
as their winner with the probability 1 / sum_j max(p_j / p_i, q_j / q_i). One number for all tokens,
walked along the distribution, agrees where the same token's intervals overlap. For the positions of
a text this computes each exactly, and how often the draft's likeliest token would be drawn. One JSON
object a line.
"""
import argparse
import json
import os
import subprocess
import tempfile

import numpy


def logits_of(ours, model, tokens_path, folder):
    out = os.path.join(folder, 'logits.f32')
    done = subprocess.run([ours, 'score', '--model', model, '--tokens', tokens_path, '--logits', out, '--json'],
                          capture_output=True, text=True, timeout=600, check=True)
    tokens = json.loads(done.stdout.splitlines()[-1])['tokens']
    data = numpy.fromfile(out, dtype='<f4').astype(numpy.float64)
    rows = len(open(tokens_path).read().split())
    return data.reshape(rows, -1), tokens


def probabilities(logits, temperature, top_p):
    """[rows, vocabulary]: after temperature and nucleus, as the sampler has them."""
    x = logits / temperature
    p = numpy.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    if top_p < 1:
        order = numpy.argsort(-p, axis=1, kind='stable')
        ranked = numpy.take_along_axis(p, order, axis=1)
        before = ranked.cumsum(axis=1) - ranked
        ranked[before >= top_p] = 0
        numpy.put_along_axis(p, order, ranked, axis=1)
        p /= p.sum(axis=1, keepdims=True)
    return p


def ends_of(p, descending):
    """Each token's end on the line from 0 to 1 along which the sampler walks."""
    if not descending:
        return p.cumsum(axis=1)
    order = numpy.argsort(-p, axis=1, kind='stable')
    ends = numpy.empty_like(p)
    numpy.put_along_axis(ends, order, numpy.take_along_axis(p, order, axis=1).cumsum(axis=1), axis=1)
    return ends


def coupled(p, q, descending):
    p_end, q_end = ends_of(p, descending), ends_of(q, descending)
    overlap = numpy.minimum(p_end, q_end) - numpy.maximum(p_end - p, q_end - q)
    return numpy.clip(overlap, 0, None).sum(axis=1).mean()


def raced(p, q):
    """Only likely tokens are summed over: a little too low."""
    same = 0
    for p_row, q_row in zip(p, q):
        for i in numpy.flatnonzero((p_row > 1e-4) & (q_row > 1e-4)):
            same += 1 / numpy.maximum(p_row / p_row[i], q_row / q_row[i]).sum()
    return same / len(p)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ('ours', 'target', 'draft', 'text'):
        parser.add_argument('--' + name, required=True)
    parser.add_argument('--tokens-max', type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with open(args.text) as file:
            line = json.dumps({'text': file.read()})
        done = subprocess.run([args.ours, 'tokenize', '--model', args.target], input=line + '\n',
                              capture_output=True, text=True, timeout=60, check=True)
        ids = json.loads(done.stdout.splitlines()[0])['ids'][:args.tokens_max]
        tokens_path = os.path.join(folder, 'tokens')
        with open(tokens_path, 'w') as file:
            file.write(' '.join(map(str, ids)))
        target, _ = logits_of(args.ours, args.target, tokens_path, folder)
        draft, _ = logits_of(args.ours, args.draft, tokens_path, folder)
    noise = numpy.random.default_rng(1).normal(size=draft.shape)
    for worse in (0, 1, 2):  # a draft that knows less: its logits blurred
        for temperature, top_p in ((0.7, 1), (1, 1), (0.7, 0.9), (1, 0.9)):
            p = probabilities(target, temperature, top_p)
            q = probabilities(draft + worse * noise, temperature, top_p)
            rows = numpy.arange(len(p))
            print(json.dumps({'temperature': temperature, 'top_p': top_p, 'draft_noise': worse,
                              'rejection': round(float(numpy.minimum(p, q).sum(axis=1).mean()), 4),
                              'raced': round(float(raced(p, q)), 4),
                              'one_number': round(float(coupled(p, q, top_p < 1)), 4),
                              'likeliest': round(float(p[rows, q.argmax(axis=1)].mean()), 4)}), flush=True)


if __name__ == '__main__':
    main()
