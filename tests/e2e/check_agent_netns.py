"""One group over two machines (network namespaces): started without ssh, through the agents."""
import os
import signal
import time

from agent import STUCK, Control, alive, cluster_pb
from cluster import tiny_model, wait_for
from netns import Network

MODEL = tiny_model()


def stop_of(group):
    return cluster_pb.Stop(group=group.name, generation=group.generation)


def one_group_over_two_machines(control, network):
    a, b = (control.start_agent(name, "--step-timeout", "4", inside=network.inside(i))
            for i, name in enumerate("ab"))
    assert a.register.machine != b.register.machine
    assert [a.register.address, b.register.address] == network.addresses
    want = control.launch("one", 1, [a], MODEL).wait_ready().generate()
    for generation, places, shape in ((1, [a, b], {"tp": 2}), (2, [a, b], {"pp": 2}), (3, [a, a, b], {"tp": 3}),
                                      (4, [b, a], {"tp": 2})):
        begin = time.monotonic()
        group = control.launch("two", generation, places, MODEL, **shape).wait_ready()
        print(f"    {len(places)} ranks {shape} ready after {time.monotonic() - begin:.2f} s")
        assert group.reports()[0].engine_address.startswith(places[0].register.address)
        assert group.generate() == want
    return a, b, group, want


def death_is_seen_on_the_other_machine(control, a, b, group, want):
    pids = group.pids()
    os.kill(pids[1], signal.SIGKILL)
    # The control plane's part: it hears of one rank and ends the rest.
    wait_for("the rank's end", 5, lambda: "died" in group.reports()[1].message)
    for agent in (a, b):
        agent.send(stop=stop_of(group))
    group.wait_ended(10)
    wait_for("the ranks to be gone", 10, lambda: not any(map(alive, pids)))
    wait_for("the daemon's end", 10, lambda: a.log().count("remote.ended") == a.log().count("remote.started"))
    return control.launch("two", 5, [a, b], MODEL, tp=2).wait_ready()


def a_cut_link_ends_a_step(control, network, a, b, group, want):
    with group.serve() as stream:
        network.cut(1)
        stream.submit(1, max_tokens=0)
        wait_for("the step to be stuck", 15, lambda: any(
            m.rank.state == STUCK and "in one step" in m.rank.message for m in list(a.messages)
            if m.WhichOneof("kind") == "rank"))
    network.mend(1)
    streams = b.streams
    wait_for("agent b to be back or still there", 60, lambda: b.streams > streams or b.heartbeats)
    for agent in (a, b):
        agent.send(stop=stop_of(group))
    wait_for("the group's end", 30, lambda: not any(map(alive, group.pids())))
    assert control.launch("two", 6, [a, b], MODEL, tp=2).wait_ready().generate() == want


def main():
    with Network(2) as network, Control(network.gateway) as control:
        a, b, group, want = one_group_over_two_machines(control, network)
        group = death_is_seen_on_the_other_machine(control, a, b, group, want)
        a_cut_link_ends_a_step(control, network, a, b, group, want)


main()
