"""Streams from our whole stack and from the peers' servers under one load; a table of ratios.

Called by compare-serving.sh. All servers are up at once and idle but for the one being asked; every
round asks every column once for every number of clients, in turning order, and what counts is the
median over the rounds. Ratios are to our first column.
"""
import argparse
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))
import cluster as e2e  # noqa: E402

PROMPT_TOKENS, OUTPUT_TOKENS = 128, 64
START_LIMIT_S, RUN_LIMIT_S = 300, 900


def column_of(text):
    """'NAME=MODEL' or 'NAME=MODEL --option value ..', as the server's own program takes them."""
    name, _, rest = text.partition('=')
    model, *options = shlex.split(rest) or sys.exit(f"'{text}' names no model: write NAME=MODEL")
    return name, os.path.abspath(model), options


class Peer:
    """A server of somebody else's that speaks OpenAI's HTTP."""

    def __init__(self, name, command, port, env=None, model=''):
        self.name, self.port, self.model = name, port, model
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, env=dict(os.environ, **(env or {})), stdout=self.log,
                                        stderr=self.log, stdin=subprocess.DEVNULL, start_new_session=True)

    def wait(self):
        def answers():
            if self.process.poll() is not None:
                self.log.seek(0)
                sys.exit(f'{self.name} ended: {self.log.read()[-2000:].decode(errors="replace")}')
            try:
                return urllib.request.urlopen(f'http://127.0.0.1:{self.port}/health', timeout=2).status == 200
            except OSError:
                return False
        e2e.wait_for(self.name, START_LIMIT_S, answers)

    def target(self):
        return ['--openai', f'http://127.0.0.1:{self.port}', '--model', self.model or self.name]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Ours:
    def __init__(self, name, cluster):
        self.name, self.cluster = name, cluster

    def target(self):
        return ['--server', self.cluster.server, '--model', self.name]


def llama(args, name, model, options):
    port = e2e.free_port()
    slots = max(args.clients)
    context = slots * (PROMPT_TOKENS + OUTPUT_TOKENS + 64)
    return Peer(name, [args.llama_server, '-m', model, '-t', str(args.threads), '-np', str(slots), '-c', str(context),
                       '--port', str(port), '--host', '127.0.0.1', '--alias', name, *options], port)


def vllm(args, name, folder, options):
    port = e2e.free_port()
    cores = f'0-{args.threads - 1}' if args.threads > 1 else '0'
    return Peer(name, [os.environ.get('VLLM', 'python3'), '-m', 'vllm.entrypoints.openai.api_server', '--model', folder,
                       '--served-model-name', name, '--enforce-eager', '--dtype', 'bfloat16', '--max-model-len', '2048',
                       '--host', '127.0.0.1', '--port', str(port), *options], port,
                env={'VLLM_CPU_KVCACHE_SPACE': '2', 'VLLM_CPU_OMP_THREADS_BIND': cores, 'VLLM_DO_NOT_TRACK': '1'})


def measure(column, clients, args):
    skipped = clients * args.skip
    requests = max(args.requests_min, clients * 4) + skipped
    command = [e2e.BIN + '/control-plane', 'bench', *column.target(), '--concurrency', str(clients), '--requests',
               str(requests), '--warmups', '2', '--prompt-tokens', str(PROMPT_TOKENS), '--output-tokens',
               str(OUTPUT_TOKENS), '--seed', str(args.seed), '--skip-first', str(skipped), '--json']
    args.seed += 1  # a prompt is never asked twice, so that no prefix cache helps anyone
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_LIMIT_S)
    if done.returncode != 0:
        sys.exit(f'{column.name}: {done.stderr.strip()}')
    result = json.loads(done.stdout)
    wanted = (requests - skipped) * OUTPUT_TOKENS
    if result['failed'] or result['output_tokens'] != wanted:
        print(f'{column.name}: {result["failed"]} failed, {result["output_tokens"]} tokens of {wanted}: '
              f'{result["first_failure"]}', file=sys.stderr)
    return result


def run(args, columns):
    found = {(c.name, n): [] for c in columns for n in args.clients}
    for number in range(args.rounds):
        turned = columns[number % len(columns):] + columns[:number % len(columns)]
        for clients in args.clients:
            for column in turned:
                print(f'round {number + 1} of {args.rounds}: {clients} clients, {column.name}', file=sys.stderr)
                found[column.name, clients].append(measure(column, clients, args))
    return found


def median(results, *path):
    def value(result):
        for key in path:
            result = result[key]
        return result
    return statistics.median(map(value, results))


def show(args, columns, found):
    if not args.json:
        print(f'{"clients":>7} {"server":<24} {"tokens/s":>9} {"ratio":>6} {"TTFT p50":>9} {"p99":>9} '
              f'{"TPOT p50":>9} {"p99":>9}  (ms)')
    for clients in args.clients:
        base = [r['output_tokens_per_s'] for r in found[columns[0].name, clients]]
        for column in columns:
            results = found[column.name, clients]
            row = {'clients': clients, 'server': column.name,
                   'output_tokens_per_s': median(results, 'output_tokens_per_s'),
                   'ours_by_this': statistics.median(b / r['output_tokens_per_s'] for b, r in zip(base, results))}
            for key in ('ttft_ms', 'tpot_ms', 'itl_ms'):
                row |= {f'{key}_{p}': median(results, key, p) for p in ('p50', 'p99')}
            if args.json:
                print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
            else:
                print(f'{clients:>7} {column.name:<24} {row["output_tokens_per_s"]:9.1f} {row["ours_by_this"]:6.2f} '
                      f'{row["ttft_ms_p50"]:9.0f} {row["ttft_ms_p99"]:9.0f} {row["tpot_ms_p50"]:9.1f} '
                      f'{row["tpot_ms_p99"]:9.1f}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--llama-server', required=True)
    parser.add_argument('--ours', action='append', metavar="'NAME=MODEL [deploy options]'")
    parser.add_argument('--llama', action='append', metavar="'NAME=MODEL [llama-server options]'")
    parser.add_argument('--vllm', action='append', metavar="'NAME=FOLDER [vLLM options]'")
    parser.add_argument('--clients', default='1,8,32', type=lambda text: [int(n) for n in text.split(',')])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--requests-min', type=int, default=16)
    parser.add_argument('--skip', type=int, default=0, metavar='N',
                        help='leave each client\'s first N requests, the first of which come at once, out of the figures')
    parser.add_argument('--threads', type=int, default=os.cpu_count())
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--json', action='store_true')
    args = parser.parse_args()
    if not args.ours and not args.llama:
        model = e2e.smollm2() or sys.exit('the quickstart has not fetched its model yet')
        args.ours, args.llama = ['phalanx=' + model], ['llama-server=' + model]

    # A caller's time limit ends us by SIGTERM: the servers must not stay behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    peers = []
    try:
        with e2e.Cluster(agents=1) as cluster:
            ours = []
            for name, model, options in map(column_of, args.ours or []):
                cluster.deploy(name, model, 1, 1, *options)
                cluster.wait_ready(name, START_LIMIT_S)
                ours.append(Ours(name, cluster))
            peers += [llama(args, *column_of(text)) for text in args.llama or []]
            peers += [vllm(args, *column_of(text)) for text in args.vllm or []]
            for peer in peers:
                peer.wait()
            columns = ours + peers
            show(args, columns, run(args, columns))
    finally:
        for peer in peers:
            peer.stop()


if __name__ == '__main__':
    main()
