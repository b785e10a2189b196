"""What the scheduler and the front cost for each token, with the forward replaced by a timer.

    PX_BUILD=build PX_BIN=build/bin python tests/bench/serving_cost.py [--streams 256] [--rounds 3] [--json]

The real control plane and the real agent with a real rank (`timer_agent`, a target of the build) under
`control-plane bench` over gRPC; a step takes 20 ms however many rows it has. Counted is the processor time, user
and system, of all threads of the control plane, the rank, etcd and the agent, from the first request to the last
token; not the client's. The rank has one worker: a second would spin for a moment after every step, which only a
real forward has a use for. The goal is 20 us for control plane and rank together at 256 streams.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))
import cluster as e2e  # noqa: E402

TICK_S = 1 / os.sysconf('SC_CLK_TCK')
PROMPT_TOKENS, OUTPUT_TOKENS = 32, 256


def with_timer_agent(folder):
    """A folder of programs in which node-agent is the one without a model."""
    timer = os.path.join(e2e.BUILD, 'bench', 'timer_agent')
    if not os.path.exists(timer):
        sys.exit(f'{timer} is missing: build the target timer_agent')
    os.symlink(os.path.abspath(timer), os.path.join(folder, 'node-agent'))
    os.symlink(os.path.abspath(os.path.join(e2e.BIN, 'control-plane')), os.path.join(folder, 'control-plane'))
    return folder


def processor_s(pid):
    """Of the process with all its threads, those that ended too."""
    fields = open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def family(pid):
    """The process and all below it."""
    found = [pid]
    for entry in filter(str.isdigit, os.listdir('/proc')):
        try:
            if int(open(f'/proc/{entry}/stat').read().rsplit(')', 1)[1].split()[1]) == pid:
                found += family(int(entry))
        except OSError:
            continue
    return found


def parts_of(cluster):
    """Role -> process id: the front with its etcd, the agent with its rank."""
    roles = {}
    for name in ('control', *cluster.agent_names()):
        top, *below = family(cluster.processes[name].pid)
        roles['control' if name == 'control' else 'agent'] = top
        for pid in below:
            argv = open(f'/proc/{pid}/cmdline').read().split('\0')
            roles['rank' if 'rank' in argv[:2] else 'etcd'] = pid
    return roles


def measure(cluster, args, seed):
    roles = parts_of(cluster)
    before = {role: processor_s(pid) for role, pid in roles.items()}
    client = subprocess.run(
        [e2e.BIN + '/control-plane', 'bench', '--server', cluster.server, '--concurrency', str(args.streams),
         '--requests', str(args.streams * args.waves), '--warmups', '0', '--prompt-tokens', str(PROMPT_TOKENS),
         '--output-tokens', str(OUTPUT_TOKENS), '--vocabulary', '256', '--seed', str(seed), '--json'],
        capture_output=True, text=True, timeout=300)
    if client.returncode:
        sys.exit(client.stderr)
    result = json.loads(client.stdout)
    if result['failed']:
        sys.exit(f'{result["failed"]} requests failed: {result["first_failure"]}')
    tokens = result['output_tokens']
    costs = {role: 1e6 * (processor_s(pid) - before[role]) / tokens for role, pid in roles.items()}
    return costs | {'tokens_per_s': result['output_tokens_per_s'], 'ttft_ms_p99': result['ttft_ms']['p99'],
                    'itl_ms_p50': result['itl_ms']['p50'], 'itl_ms_p99': result['itl_ms']['p99']}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--streams', type=int, default=256)
    parser.add_argument('--waves', type=int, default=2, help='requests of each stream')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--json', action='store_true')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        e2e.BIN = with_timer_agent(folder)
        with e2e.Cluster(agents=1) as cluster:
            cluster.deploy('timer', e2e.tiny_model(), 1, 1, '--threads', '1')
            cluster.wait_ready('timer')
            rounds = [measure(cluster, args, seed) for seed in range(args.rounds + 1)][1:]  # the first is a warm-up
    row = {'streams': args.streams} | {key: round(statistics.median(r[key] for r in rounds), 2) for key in rounds[0]}
    row['front_and_rank_us'] = round(statistics.median(r['control'] + r['rank'] for r in rounds), 2)
    if args.json:
        print(json.dumps(row))
    else:
        print(f'{args.streams} streams, {row["tokens_per_s"]:.0f} tokens/s: microseconds of processor time a token')
        for role in ('control', 'rank', 'agent', 'etcd', 'front_and_rank_us'):
            print(f'  {role.removesuffix("_us").replace("_", " "):<16} {row[role]:6.2f}')


if __name__ == '__main__':
    main()
