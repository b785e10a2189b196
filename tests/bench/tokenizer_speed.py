#!/usr/bin/env python3
"""Tokenizer speed as a ratio: node-agent tokenize's library against Hugging Face tokenizers, one
thread each, the same text, interleaved; ids are compared before anything is timed.

usage: tokenizer_speed.py --bench PROGRAM --text FILE TOKENIZER_FOLDER...    needs: pip install tokenizers

PROGRAM is the build's tokenizer_bench. CPU seconds, so that a busy machine does not decide; the median of
--repeat runs. Text is given in pieces of --piece characters, which is kinder to the peer than all at once.
"""
import argparse, json, os, statistics, subprocess, tempfile, time

os.environ['TOKENIZERS_PARALLELISM'] = 'false'


def ours(program, folder, pieces, repeat):
    """Runs the program over JSON lines; returns (ids per piece, seconds per run)."""
    with tempfile.NamedTemporaryFile('wb', suffix='.jsonl') as file:
        file.write(b''.join(json.dumps(p).encode() + b'\n' for p in pieces))
        file.flush()
        done = subprocess.run([program, folder, file.name, str(repeat)], capture_output=True, check=True)
    answer = json.loads(done.stdout)
    return answer['counts'], answer['checksum'], answer['seconds']


def theirs(folder, pieces, repeat):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(folder + '/tokenizer.json')
    counts, checksum = [], 0
    for piece in pieces:
        ids = tokenizer.encode(piece, add_special_tokens=False).ids
        counts.append(len(ids))
        for i in ids:
            checksum = (checksum * 31 + i) % 2**32
    seconds = []
    for _ in range(repeat):
        start = time.process_time()
        for piece in pieces:
            tokenizer.encode(piece, add_special_tokens=False)
        seconds.append(time.process_time() - start)
    return counts, checksum, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('folders', nargs='+')
    parser.add_argument('--bench', required=True)
    parser.add_argument('--text', required=True)
    parser.add_argument('--piece', type=int, default=2000)
    parser.add_argument('--repeat', type=int, default=3)
    args = parser.parse_args()
    text = open(args.text, encoding='utf-8', errors='replace', newline='').read()
    pieces = [text[i:i + args.piece] for i in range(0, len(text), args.piece)]
    size = len(text.encode()) / 1e6
    print(f'{size:.1f} MB in {len(pieces)} pieces; MB/s of CPU time')
    for folder in args.folders:
        mine, peer = [], []
        for _ in range(args.repeat):
            counts, checksum, seconds = ours(args.bench, folder, pieces, 1)
            mine += seconds
            peer_counts, peer_checksum, seconds = theirs(folder, pieces, 1)
            peer += seconds
            if (counts, checksum) != (peer_counts, peer_checksum):
                raise SystemExit(f'{folder}: the ids differ; no speed is worth that')
        a, b = size / statistics.median(mine), size / statistics.median(peer)
        print(f'{os.path.basename(folder.rstrip("/")):16} ours {a:6.1f}  tokenizers {b:6.2f}  ratio {a / b:5.1f}')


main()
