"""What a tenant waits for its first token beside another that asks for a hundred times as much.

    PX_BUILD=build PX_BIN=build/bin python tests/bench/fairness.py [--model MODEL] [--rounds 3] [--json]

Wall time through the whole stack. The light tenant asks one thing after the other; the other keeps a hundred requests
under way for the same time. A round measures the light one alone and then beside the flood; told are the medians over
the rounds, and their ratios. The goal for p99 is 1.5.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))
import cluster as e2e  # noqa: E402

PROMPT_TOKENS, LIGHT_TOKENS, FLOOD_TOKENS, FLOOD = 128, 8, 64, 100


def bench(cluster, tenant, seed, *load):
    return [e2e.BIN + '/control-plane', 'bench', '--server', cluster.server, '--tenant', tenant, '--seed', str(seed),
            '--prompt-tokens', str(PROMPT_TOKENS), '--json', *map(str, load)]


def light(cluster, args, seed):
    done = subprocess.run(bench(cluster, 'light', seed, '--concurrency', 1, '--requests', args.requests, '--warmups', 1,
                                '--output-tokens', LIGHT_TOKENS), capture_output=True, text=True, timeout=600)
    result = json.loads(done.stdout)
    if done.returncode or result['failed']:
        sys.exit(f'the light tenant: {done.stderr} {result["first_failure"]}')
    return result


class Flood:
    """The other tenant's requests, while the block lasts."""

    def __init__(self, cluster, seed):
        self.cluster, self.command = cluster, bench(cluster, 'flood', seed, '--concurrency', FLOOD, '--requests', 10**6,
                                                    '--warmups', 0, '--output-tokens', FLOOD_TOKENS)

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        e2e.wait_for('the flood', 60, lambda: self.cluster.models()[0]['waiting'] > 0)
        return self

    def __exit__(self, *exception):
        self.process.terminate()
        self.result = json.loads(self.process.communicate(timeout=60)[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default=e2e.smollm2())
    parser.add_argument('--requests', type=int, default=60)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--json', action='store_true')
    args = parser.parse_args()
    if not args.model:
        sys.exit('the quickstart has not fetched its model yet; name one with --model')
    found = {'alone': [], 'beside': []}
    flood_tokens_s = []
    with e2e.Cluster(agents=1) as cluster:
        cluster.deploy('model', os.path.abspath(args.model))
        cluster.wait_ready('model', 120)
        for number in range(args.rounds):
            found['alone'].append(light(cluster, args, 2 * number))
            with Flood(cluster, 1000 + number) as flood:
                found['beside'].append(light(cluster, args, 2 * number + 1))
            flood_tokens_s.append(flood.result['output_tokens_per_s'])
    row = {f'{when}_ttft_ms_{p}': statistics.median(r['ttft_ms'][p] for r in results)
           for when, results in found.items() for p in ('p50', 'p99')}
    for p in ('p50', 'p99'):
        row[f'{p}_ratio'] = row[f'beside_ttft_ms_{p}'] / row[f'alone_ttft_ms_{p}']
    row['flood_tokens_per_s'] = statistics.median(flood_tokens_s)
    row = {key: round(value, 2) for key, value in row.items()}
    print(json.dumps(row) if args.json else '\n'.join(f'{key:<22} {value:8.2f}' for key, value in row.items()))


if __name__ == '__main__':
    main()
