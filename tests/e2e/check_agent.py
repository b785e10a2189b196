"""Agents and ranks against a scripted control plane: launch, answer, death in every form, adoption."""
import os
import signal
import socket
import struct
import subprocess
import time

import grpc

from agent import (Control, ENDED, READY, STUCK, alive, cluster_pb, engine_pb, inference_pb)
from cluster import check, run_checks, tiny_model, wait_for

MODEL = tiny_model()


@check
def registration_describes_the_machine(control):
    models = os.path.join(control.dir, "models", "tiny")
    os.makedirs(models)
    os.symlink(MODEL, os.path.join(models, "1"))
    agent = control.start_agent("a", "--models", os.path.dirname(models))
    r = agent.register
    assert r.agent == "a" and r.address == "127.0.0.1" and r.machine and r.version
    assert r.cores == len(os.sched_getaffinity(0)) or r.cores < os.cpu_count()
    assert r.memory_bytes > r.memory_free_bytes > 0
    assert r.bandwidth_bytes_s > 10**8 and r.flops > 10**8
    assert [m.name for m in r.models] == ["tiny"] and r.models[0].bytes > 0
    assert os.stat(r.socket_path).st_mode & 0o777 == 0o600
    assert not r.ranks
    wait_for("heartbeats", 5, lambda: agent.heartbeats >= 3)
    assert agent.kill(signal.SIGTERM) == 0


@check
def one_rank_answers(control):
    agent = control.start_agent("a")
    group = control.launch("g", 1, [agent], MODEL, served_name="tiny").wait_ready()
    with group.serve() as stream:
        load = next(stream.events).load
        assert load.model.name == "tiny" and load.model.vocabulary > 0 and load.kv_blocks > 0, load
        alone = stream.generate(1)
        # The same again, among others, is the same text; an unknown cancel disturbs nobody.
        stream.cancel(12345)
        for id in range(2, 10):
            stream.submit(id)
        for id, (text, _, done) in stream.answers(range(2, 10)).items():
            assert text == alone, (id, text, alone)
            assert done.finish_reason == inference_pb.FINISH_REASON_LENGTH
    report = group.reports()[0]
    assert report.resident_bytes > 0
    wait_for("steps to be reported", 5, lambda: group.reports()[0].steps > 0)


@check
def bad_requests_fail_alone(control):
    agent = control.start_agent("a")
    group = control.launch("g", 1, [agent], MODEL).wait_ready()
    for secret in ("", "wrong", group.secret + "x"):
        with group.serve(secret) as stream:
            try:
                next(stream.events)
                raise AssertionError("served without the secret")
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
    with group.serve() as stream:
        stream.submit(1, prompt=b"word " * 100000, max_tokens=4)
        stream.submit(2, max_tokens=4)
        stream.requests.put(engine_pb.EngineRequest(submit=engine_pb.EngineSubmit(id=3)))
        answers = stream.answers([1, 2, 3])
        assert answers[1][2].code == 3 and "context" in answers[1][2].message, answers[1]
        assert len(answers[2][1]) == 4
        assert answers[3][2].code == 3, answers[3]
        stream.requests.put(engine_pb.EngineRequest(tokenize=engine_pb.EngineTokenize(
            id=4, request=inference_pb.TokenizeRequest(text=b"Hello there"))))
        ids = next(e.tokenized.response.ids for e in stream.events if e.WhichOneof("kind") == "tokenized")
        assert len(ids) > 0
        # Cancel: the engine lets go within a step and says so.
        many = range(20, 84)  # so many that the last cannot have ended by itself
        for id in many:
            stream.submit(id, max_tokens=0)
        for id in many:
            stream.cancel(id)
        assert stream.answers(many)[many[-1]][2].code == 1
        for id in [*range(100, 164), 163]:  # the last one breaks the protocol: this stream ends, no other
            stream.submit(id, max_tokens=0)
        try:
            for _ in stream.events:
                pass
            raise AssertionError("a repeated id was taken")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.ALREADY_EXISTS, error
    group.generate()


@check
def a_lost_router_takes_its_requests_with_it(control):
    agent = control.start_agent("a")
    group = control.launch("g", 1, [agent], MODEL).wait_ready()
    with group.serve() as stream:
        for id in range(8):
            stream.submit(id, max_tokens=0)
        next(e for e in stream.events if e.WhichOneof("kind") == "outputs")
    with group.serve() as stream:
        for event in stream.events:
            if event.WhichOneof("kind") == "load" and event.load.running == 0 and event.load.waiting == 0:
                assert event.load.kv_blocks_free > 0
                break


@check
def mpirun_group_answers_alike_and_dies_whole(control):
    a, b = control.start_agent("a"), control.start_agent("b")
    assert a.register.machine == b.register.machine
    want = control.launch("one", 1, [a], MODEL).wait_ready().generate()
    group = control.launch("two", 1, [a, b], MODEL, tp=2).wait_ready()
    assert group.generate() == want
    pids = group.pids()
    with group.serve() as stream:
        stream.submit(1, max_tokens=0)
        os.kill(pids[1], signal.SIGKILL)
        begin = time.monotonic()
        reports = group.wait_ended(5)
        assert "died" in reports[1].message and reports[1].code == 14, reports[1]
        try:
            stream.answers([1], 10)
        except (grpc.RpcError, AssertionError):
            pass
    wait_for("the launch to end", 5, lambda: a.launch_ended("two", 1))
    wait_for("all ranks to be gone", 5, lambda: not any(map(alive, pids)))
    print(f"    a dead rank was reported and its group gone within {time.monotonic() - begin:.2f} s")
    assert control.launch("two", 2, [a, b], MODEL, tp=2).wait_ready().generate() == want


@check
def stop_ends_a_group_and_nothing_else(control):
    agent = control.start_agent("a")
    other = control.launch("other", 1, [agent], MODEL).wait_ready()
    group = control.launch("g", 7, [agent, agent], MODEL, tp=2).wait_ready()
    pids = group.pids()
    agent.send(stop=cluster_pb.Stop(group="g", generation=6))  # not this one
    time.sleep(0.5)
    assert group.states() == [READY, READY]
    agent.send(stop=cluster_pb.Stop(group="g", generation=7))
    reports = group.wait_ended(10)
    assert reports[0].message == "stopped" and reports[0].code == 1
    wait_for("the ranks to be gone", 5, lambda: not any(map(alive, pids)))
    assert other.states() == [READY]
    other.generate()


@check
def what_cannot_start_says_why(control):
    agent = control.start_agent("a")
    broken = os.path.join(control.dir, "broken.gguf")
    open(broken, "wb").write(b"GGUF" + os.urandom(4000))
    for name, model, code, part in (("missing", "/no/such/model", 5, "/no/such/model"),
                                    ("broken", broken, None, "broken.gguf")):
        for tp in (1, 2):
            group = control.launch(f"{name}{tp}", 1, [agent] * tp, model, tp=tp)
            report = group.wait_ended(20)[0]
            assert part in report.message, report
            assert code is None or report.code == code, report
            wait_for("the launch to end", 10, lambda: agent.launch_ended(f"{name}{tp}", 1))
    group = control.launch("places", 1, [agent], MODEL, tp=2)  # two ranks, one place
    ended = wait_for("the refusal", 5, lambda: agent.launch_ended("places", 1))
    assert "needs 2 places" in ended.message, ended
    bare = os.path.join(control.dir, "bare")
    os.makedirs(bare)
    agent = control.start_agent("b", env={"PATH": bare})
    group = control.launch("g", 1, [agent, agent], MODEL, tp=2)
    ended = wait_for("the launch to end", 5, lambda: agent.launch_ended("g", 1))
    assert "apt-get install openmpi-bin" in ended.message, ended
    assert "openmpi-bin" in group.wait_ended()[1].message
    control.launch("alone", 1, [agent], MODEL).wait_ready()  # needs no mpirun


@check
def hostile_bytes_on_the_socket_disturb_nobody(control):
    agent = control.start_agent("a")
    group = control.launch("g", 1, [agent], MODEL).wait_ready()
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100000, struct.pack("<I", 65536) + b"x",
                 struct.pack("<I", 3) + b"\x0a\x7f\x01", struct.pack("<I", 0)):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(agent.register.socket_path)
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                s.settimeout(5)
                while s.recv(4096):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                pass
    # A process that claims to be a rank nobody expects, and one that claims to be one that runs.
    for name, part in (("h", "is expected here"), ("g", "has reported already")):
        result = subprocess.run([agent.register.program, "rank", "--agent-socket", agent.register.socket_path,
                                 "--group", name, "--model", MODEL], capture_output=True, text=True, timeout=20)
        assert result.returncode == 1 and part in result.stderr, result
    # Remote starts are for groups that are being launched here.
    result = subprocess.run([agent.register.program, "remote-start", "10.0.0.9", "orted"], capture_output=True,
                            text=True, timeout=20, env={**os.environ, "PHALANX_SOCKET": agent.register.socket_path,
                                                        "PHALANX_GROUP": "h", "PHALANX_GENERATION": "1"})
    assert result.returncode == 1 and "not being launched here" in result.stderr, result
    assert group.states() == [READY]
    group.generate()


@check
def remote_starts_are_denied_by_default(control):
    agent = control.start_agent("a")

    def answer(id, group, argv):
        agent.send(remote_start=cluster_pb.RemoteStart(id=id, group=group, generation=1, argv=argv))
        return wait_for("the refusal", 5, lambda: next(
            (m.remote_exit for m in list(agent.messages)
             if m.WhichOneof("kind") == "remote_exit" and m.remote_exit.id == id), None))

    marker = os.path.join(control.dir, "marker")
    assert "is expected here" in answer(1, "g", ["orted"]).message
    agent.send(expect=cluster_pb.Expect(group="g", generation=1, ranks=[1], secret="s"))
    assert "only 'orted'" in answer(2, "g", ["touch", "-mca", marker, "1"]).message
    assert "may not be" in answer(3, "g", ["orted", "-mca", "plm_rsh_agent", f"touch {marker}"]).message
    assert "not allowed" in answer(4, "g", ["orted", "-mca", "orte_launch_agent", f"touch {marker}"]).message
    assert answer(5, "g", ["orted", "-mca", "ess", "env"]).exit_code != 0  # allowed, and useless alone
    assert not os.path.exists(marker)


@check
def a_stopped_rank_is_stuck(control):
    agent = control.start_agent("a", "--silent-timeout", "2")
    group = control.launch("g", 1, [agent, agent], MODEL, tp=2).wait_ready()
    pids = group.pids()
    os.kill(pids[1], signal.SIGSTOP)
    wait_for("the rank to be stuck", 10,
             lambda: any(m.rank.state == STUCK and "sign of life" in m.rank.message for m in list(agent.messages)
                         if m.WhichOneof("kind") == "rank"))
    group.wait_ended(10)
    wait_for("the ranks to be gone", 10, lambda: not any(map(alive, pids)))


@check
def a_machine_that_slept_has_no_silent_ranks(control):
    agent = control.start_agent("a", "--silent-timeout", "1")
    group = control.launch("g", 1, [agent, agent], MODEL, tp=2).wait_ready()
    pids = [agent.process.pid, *group.pids()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(3)
    beats = agent.heartbeats
    for pid in pids:  # the agent looks at its ranks before they can say a word
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.3)
    wait_for("heartbeats", 20, lambda: agent.heartbeats > beats + 5)
    assert group.states() == [READY, READY], agent.log()
    group.generate()


@check
def a_dead_agent_leaves_no_rank_behind(control):
    agent = control.start_agent("a")
    groups = [control.launch("one", 1, [agent], MODEL), control.launch("two", 1, [agent, agent], MODEL, tp=2)]
    pids = [pid for group in groups for pid in group.wait_ready().pids()]
    agent.kill(signal.SIGKILL)
    wait_for("the ranks to be gone", 5, lambda: not any(map(alive, pids)))
    agent = control.start_agent("a")  # in the same folder
    assert not agent.register.ranks
    control.launch("two", 2, [agent, agent], MODEL, tp=2).wait_ready().generate()


@check
def ranks_outlive_the_control_plane(control):
    agent = control.start_agent("a", "--orphan-timeout", "4")
    group = control.launch("g", 1, [agent, agent], MODEL, tp=2).wait_ready()
    want = group.generate()
    control.silence()
    assert group.generate() == want  # routers that live still get answers
    streams = agent.streams
    control.listen()
    wait_for("the agent to come back", 15, lambda: agent.streams > streams)
    told = {r.rank: r for r in agent.register.ranks}
    assert [told[r].state for r in (0, 1)] == [READY, READY], told
    assert told[0].engine_address == group.reports()[0].engine_address
    assert group.generate() == want
    control.silence()
    wait_for("orphans to be ended", 15, lambda: not any(map(alive, group.pids())))


@check
def a_refused_agent_says_so_once_and_tries_on(control):
    control.refusal = (grpc.StatusCode.ALREADY_EXISTS, "agent 'a' has joined from another machine")
    agent = control.start_agent("a", wait=False)
    wait_for("the sentence", 10, lambda: "has joined from another machine" in agent.log())
    time.sleep(1.5)
    assert agent.log().count("has joined from another machine") == 1, agent.log()
    control.refusal = None
    wait_for("the agent to join", 15, lambda: agent.streams)
    twin = subprocess.run([agent.register.program, "join", "--server", f"127.0.0.1:{control.port}", "--name", "b",
                           "--data", os.path.join(control.dir, "a")], capture_output=True, text=True, timeout=20)
    assert twin.returncode == 1 and "another agent uses the data folder" in twin.stderr, twin


@check
def an_idle_group_costs_next_to_nothing(control):
    agent = control.start_agent("a")
    group = control.launch("g", 1, [agent, agent], MODEL, tp=2).wait_ready()
    with group.serve() as stream:
        stream.generate()
        time.sleep(0.5)

        def cpu(pid):
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        pids = group.pids() + [agent.process.pid]
        before = list(map(cpu, pids))
        time.sleep(3)
        used = [(now - then) / 3 for then, now in zip(before, map(cpu, pids))]
    print("    idle CPU of rank 0, rank 1, agent:", ", ".join(f"{100 * u:.1f} %" for u in used))
    assert max(used) < 0.10, used


def run(function):
    with Control() as control:
        function(control)


run_checks(run)
