"""A cluster of two machines (network namespaces): deployed over both, without ssh, and cut apart."""
import threading
import time

import grpc
from cluster import BIN, Cluster, stubs, tiny_model, wait_for
from netns import Network

pb, _ = stubs()["inference"]


class TwoMachines(Cluster):
    """The control plane on this side of the bridge, agent N on host N."""

    def __init__(self, network):
        super().__init__(agents=2)
        self.network = network
        self.server = f"{network.gateway}:{self.port}"

    def start_agent(self, name):
        host = self.agent_names().index(name)
        self.start_process(name, [*self.network.inside(host), BIN + "/node-agent", "join", "--server", self.server,
                                  "--name", name, "--data", f"{self.dir}/{name}"])


def ask(cluster, model, max_tokens=16):
    request = pb.GenerateRequest(model=model, text=b"Hello", sampling=pb.Sampling(temperature=0.0),
                                 stopping=pb.Stopping(max_tokens=max_tokens, ignore_eos=True))
    return b"".join(part.text for part in cluster.inference().Generate(request, timeout=60))


def both_machines_hold_one_model(cluster):
    cluster.deploy("alone", tiny_model(), 1)
    cluster.wait_ready("alone")
    expected = ask(cluster, "alone")
    cluster.cli("undeploy", "alone")
    for tp, pp in ((2, 1), (1, 2), (2, 2)):
        begin = time.monotonic()
        cluster.deploy("both", tiny_model(), tp, pp)
        state = cluster.wait_ready("both")
        print(f"     tp {tp} pp {pp} on {state['agents']} ready after {time.monotonic() - begin:.2f} s")
        assert set(state["agents"]) == {"agent0", "agent1"}, state
        assert ask(cluster, "both") == expected
        cluster.cli("undeploy", "both")
    return expected


def a_cut_machine_is_left_behind(cluster, network, expected):
    cluster.deploy("both", tiny_model(), 2)
    before = cluster.wait_ready("both")
    errors, started = [], threading.Event()

    def endless():
        request = pb.GenerateRequest(model="both", text=b"Hello", stopping=pb.Stopping(ignore_eos=True))
        try:
            while True:
                for _ in cluster.inference().Generate(request, timeout=60):
                    started.set()
        except grpc.RpcError as error:
            errors.append(error)

    asking = threading.Thread(target=endless, daemon=True)
    asking.start()
    assert started.wait(20)
    begin = time.monotonic()
    network.cut(1)
    asking.join(30)
    assert errors and errors[0].code() == grpc.StatusCode.UNAVAILABLE, errors
    after = cluster.wait_ready("both", 40, before["generation"])
    print(f"     a cut machine was left behind in {time.monotonic() - begin:.1f} s")
    assert after["agents"] == ["agent0", "agent0"], after
    assert ask(cluster, "both") == expected
    network.mend(1)
    wait_for("the agent's return", 60, lambda: len(cluster.nodes()) == 2)
    assert ask(cluster, "both") == expected


def main():
    with Network(2) as network, TwoMachines(network) as cluster:
        expected = both_machines_hold_one_model(cluster)
        a_cut_machine_is_left_behind(cluster, network, expected)


main()
