"""A real cluster over two machines (network namespaces): deaths on either, and a twin of an agent."""
import json
import os
import signal
import time

from agent import alive
from cluster import BIN, Cluster, stubs, tiny_model, wait_for
from netns import Network

inference_pb = stubs()["inference"][0]
MODEL = tiny_model()


class ClusterOverMachines(Cluster):
    """The control plane and agent0 on machine 0, agent1 on machine 1; clients on a third."""

    def __init__(self, network):
        super().__init__(agents=2)
        self.network = network
        self.server = f"{network.addresses[0]}:{self.port}"

    def start_process(self, name, argv):
        machine = 1 if name == "agent1" else 0
        return super().start_process(name, [*self.network.inside(machine), *argv])


def ask(cluster, model, prompt=b"Once upon a time", max_tokens=12):
    request = inference_pb.GenerateRequest(
        model=model, text=prompt, sampling=inference_pb.Sampling(temperature=0),
        stopping=inference_pb.Stopping(max_tokens=max_tokens, ignore_eos=True))
    parts = list(cluster.inference().Generate(request, timeout=30))
    assert parts[-1].done.output_tokens == max_tokens, parts
    return b"".join(part.text for part in parts)


def pid_of(cluster, agent, model):
    """The pid of the rank of `model` that this agent logged as ready last."""
    ready = [json.loads(line) for line in cluster.log(agent).splitlines() if '"rank.ready"' in line]
    return [entry["pid"] for entry in ready if entry["group"] == model][-1]


def generation(cluster, model):
    return next(m for m in cluster.models() if m["name"] == model)["generation"]


def main():
    with Network(2) as network, ClusterOverMachines(network) as cluster:
        assert len({node["machine"] for node in cluster.nodes()}) == 2, cluster.nodes()
        cluster.cli("deploy", MODEL, "--name", "alone", "--agents", "agent0")
        want = ask(cluster, "alone")
        begin = time.monotonic()
        cluster.cli("deploy", MODEL, "--name", "split", "--tp", "2")
        placed = next(m for m in cluster.models() if m["name"] == "split")
        assert sorted(placed["agents"]) == ["agent0", "agent1"], placed
        assert ask(cluster, "split") == want
        print(f"    TP 2 over two machines deployed and asked within {time.monotonic() - begin:.2f} s")

        for agent in ("agent1", "agent0"):
            before, victim = generation(cluster, "split"), pid_of(cluster, agent, "split")
            begin = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            cluster.wait_ready("split", 30, before)
            assert ask(cluster, "split") == want and not alive(victim)
            print(f"    the rank on {agent} killed: served again after {time.monotonic() - begin:.2f} s")

        # A twin on the other machine is told so, and changes nothing for the first of its name.
        cluster.start_process("agent1 twin", [BIN + "/node-agent", "join", "--server", cluster.server, "--name",
                                              "agent1", "--data", cluster.dir + "/twin"])
        wait_for("the twin's refusal", 10, lambda: "agent1" in cluster.log("agent1 twin").partition("unreachable")[2])
        assert len(cluster.nodes()) == 2 and ask(cluster, "split") == want
        cluster.kill("agent1 twin", signal.SIGTERM)

        before, victim = generation(cluster, "split"), pid_of(cluster, "agent1", "split")
        cluster.kill("agent1")
        wait_for("the machine to be lost", 20, lambda: len(cluster.nodes()) == 1)
        wait_for("its rank to be gone", 10, lambda: not alive(victim))
        assert ask(cluster, "alone") == want  # what did not run there goes on
        begin = time.monotonic()
        cluster.start_agent("agent1")
        cluster.wait_ready("split", 60, before)
        assert ask(cluster, "split") == want
        print(f"    the agent killed and started again: served {time.monotonic() - begin:.2f} s later")


main()
