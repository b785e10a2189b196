"""A real cluster through deaths: of a rank, of an agent, of the control plane. New requests are served."""
import os
import signal
import subprocess
import sys
import time

import grpc

from agent import alive
from cluster import BIN, Cluster, stubs, tiny_model, wait_for

inference_pb = stubs()["inference"][0]
MODEL = tiny_model()


def ask(cluster, max_tokens=12, timeout=20):
    """One greedy answer of `max_tokens` tokens."""
    request = inference_pb.GenerateRequest(
        model="tiny", text=b"Once upon a time", sampling=inference_pb.Sampling(temperature=0),
        stopping=inference_pb.Stopping(max_tokens=max_tokens, ignore_eos=True))
    parts = list(cluster.inference().Generate(request, timeout=timeout))
    assert parts[-1].done.output_tokens == max_tokens, parts
    return b"".join(part.text for part in parts)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        direct = [int(child) for child in file.read().split()]
    return direct + [grandchild for child in direct for grandchild in children(child)]


def command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")
    except FileNotFoundError:
        return []


def ranks(cluster):
    """Pids of the rank processes below any of the cluster's agents."""
    return [pid for name, process in cluster.processes.items() if name.startswith("agent") and process.poll() is None
            for pid in children(process.pid) if command(pid)[1:2] == [b"rank"]]


def deployment(cluster):
    return next((d for d in cluster.admin().ListDeployments(
        stubs()["admin"][0].ListDeploymentsRequest()).deployments if d.name == "tiny"), None)


def wait_serving(cluster, want, since_generation, seconds=30):
    """The time until a new generation answers as the old one did."""
    begin = time.monotonic()
    wait_for("a new generation", seconds, lambda: deployment(cluster).generation > since_generation
             and deployment(cluster).state == "READY")
    assert ask(cluster) == want
    return time.monotonic() - begin


def kill_a_rank(cluster, want):
    for victim in (1, 0):
        generation = deployment(cluster).generation
        pids = ranks(cluster)
        assert len(pids) == 2, pids
        in_flight = cluster.inference().Generate(inference_pb.GenerateRequest(
            model="tiny", text=b"Once", stopping=inference_pb.Stopping(max_tokens=0, ignore_eos=True)), timeout=30)
        next(in_flight)
        os.kill(pids[victim], signal.SIGKILL)
        try:
            tokens = sum(len(part.token_ids) for part in in_flight)
            print(f"    the request in flight had ended by itself after {tokens} tokens")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
        print(f"    rank {victim} killed: served again after {wait_serving(cluster, want, generation):.2f} s")
        assert not any(alive(pid) for pid in pids)


def kill_an_agent(cluster, want):
    generation = deployment(cluster).generation
    pids = ranks(cluster)
    cluster.kill("agent1")
    wait_for("its ranks to be gone", 5, lambda: not any(alive(pid) for pid in pids))
    wait_for("the node to be lost", 20, lambda: len(cluster.nodes()) == 1)
    cluster.start_agent("agent1")
    took = wait_serving(cluster, want, generation, 40)
    print(f"    agent killed and started again: served again after {took:.2f} s")


def restart_the_control_plane(cluster, want):
    generation = deployment(cluster).generation
    pids = ranks(cluster)
    cluster.kill("control")
    time.sleep(1)
    assert all(alive(pid) for pid in pids)
    begin = time.monotonic()
    cluster.start_control()
    wait_for("the deployment to be ready", 30, lambda: deployment(cluster) and deployment(cluster).state == "READY")
    assert ask(cluster) == want
    assert ranks(cluster) == pids and deployment(cluster).generation == generation, "the ranks were not adopted"
    print(f"    control plane killed and started: its ranks adopted, served after {time.monotonic() - begin:.2f} s")


def a_twin_is_refused(cluster, want):
    log = os.path.join(cluster.dir, "twin.log")
    with open(log, "wb") as file:
        cluster.processes["twin"] = subprocess.Popen(
            [BIN + "/node-agent", "join", "--server", cluster.server, "--name", "agent0", "--data", cluster.dir + "/twin"],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    wait_for("the twin's refusal", 10, lambda: b"agent0" in open(log, "rb").read().partition(b"control.unreachable")[2])
    assert len(cluster.nodes()) == 2 and ask(cluster) == want
    cluster.kill("twin", signal.SIGTERM)


def main():
    with Cluster(agents=2) as cluster:
        cluster.cli("deploy", MODEL, "--name", "tiny", "--tp", "2")
        want = ask(cluster)
        for check in (kill_a_rank, a_twin_is_refused, kill_an_agent, restart_the_control_plane, kill_a_rank):
            if sys.argv[1:] and check.__name__ not in sys.argv[1:]:
                continue
            check(cluster, want)
            print(f"ok   {check.__name__}", flush=True)


main()
