"""The control plane end to end: its commands, and every way to lose a part of the cluster."""
import json
import os
import pty
import select
import signal
import subprocess
import threading
import time

import grpc
from cluster import BIN, Cluster, check, free_port, run_checks_on_cluster, smollm2, stubs, tiny_model, wait_for

pb, _ = stubs()["inference"]


def ask(cluster, model="", max_tokens=8, **options):
    request = pb.GenerateRequest(model=model, text=b"Hello", sampling=pb.Sampling(temperature=0.0),
                                 stopping=pb.Stopping(max_tokens=max_tokens, ignore_eos=True))
    return b"".join(part.text for part in cluster.inference().Generate(request, timeout=60, **options))


def rank_pids(cluster):
    """The rank processes of this cluster, by what their command line names."""
    pids = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            argv = open(f"/proc/{entry}/cmdline", "rb").read().split(b"\0")
        except OSError:
            continue
        if len(argv) > 1 and argv[1] == b"rank" and any(cluster.dir.encode() in a for a in argv):
            pids.append(int(entry))
    return sorted(pids)


def model(cluster, name="tiny"):
    return next(m for m in cluster.models() if m["name"] == name)


class Asking(threading.Thread):
    """One long request in flight; its end is `error` or, when it went well, None."""

    def __init__(self, cluster, max_tokens=4000):
        super().__init__(daemon=True)
        self.cluster, self.max_tokens, self.error, self.started = cluster, max_tokens, None, threading.Event()
        self.start()
        assert self.started.wait(20)

    def run(self):
        request = pb.GenerateRequest(model="tiny", text=b"Hello", stopping=pb.Stopping(
            max_tokens=self.max_tokens, ignore_eos=True))
        try:
            for _ in self.cluster.inference().Generate(request, timeout=60):
                self.started.set()
        except grpc.RpcError as error:
            self.error = error

    def must_end(self, code):
        self.join(20)
        assert not self.is_alive(), "a request in flight hangs"
        assert self.error is not None, "the request ended well"
        assert self.error.code() == code, self.error


# --- commands ---


@check
def commands_print_tables_and_json(cluster):
    status = cluster.json_lines("status")[0]
    assert status["leader"] == cluster.server and status["nodes"] == 2 and status["deployments_ready"] == 1
    assert "private" in status["etcd"]
    assert "agent0" in cluster.cli("nodes").stdout and "CORES" in cluster.cli("nodes").stdout
    assert {n["name"] for n in cluster.nodes()} == {"agent0", "agent1"}
    assert sorted(r for n in cluster.nodes() for r in n["ranks"]) == ["tiny/0 ready", "tiny/1 ready"]
    table = cluster.cli("models").stdout
    assert "READY" in table and "agent0, agent1" in table
    kinds = [e["kind"] for e in cluster.json_lines("events")]
    assert kinds.index("node.joined") < kinds.index("group.started") < kinds.index("group.ready"), kinds


@check
def answers_come_through_the_cli(cluster):
    last = cluster.json_lines("generate", "Hello", "--temperature", "0", "--max-tokens", "8", "--ignore-eos")[-1]
    assert len(last["ids"]) == 8 and last["finish_reason"] == "length" and last["tokens_per_s"] > 0
    assert last["text"].encode() == ask(cluster)
    dull = cluster.json_lines("generate", "Hello", "--temperature", "0", "--max-tokens", "8", "--ignore-eos",
                              "--presence-penalty", "100")[-1]
    assert len(set(dull["ids"])) == 8, "a token came twice where that is next to impossible"
    plain = cluster.cli("generate", "--temperature", "0", "--max-tokens", "8", "--ignore-eos", input="Hello")
    assert plain.stdout == last["text"] and "tokens/s" in plain.stderr
    once = cluster.json_lines("chat", "hi", "--temperature", "0", "--max-tokens", "8")[-1]
    lines = cluster.cli("chat", "--temperature", "0", "--max-tokens", "8", "--json", input="hi\nand again\n/quit\n")
    answers = [json.loads(line) for line in lines.stdout.splitlines()]
    assert answers[0]["text"] == once["text"]
    assert answers[1]["prompt_tokens"] > answers[0]["prompt_tokens"], "the history was not sent"


@check
def ctrl_c_ends_the_answer_and_then_the_chat(cluster):
    if not smollm2():  # the tiny model is done before anybody could interrupt it
        print("     skipped: the real model is not here")
        return
    cluster.deploy("slow", smollm2(), 1)
    master, slave = pty.openpty()
    chat = subprocess.Popen([BIN + "/control-plane", "chat", "--server", cluster.server, "--model", "slow",
                             "--max-tokens", "0", "--ignore-eos"],
                            stdin=slave, stdout=slave, stderr=slave, close_fds=True)
    os.close(slave)
    seen = b""

    def sees(word, seconds=20):
        nonlocal seen
        end = time.monotonic() + seconds
        while word not in seen and time.monotonic() < end:
            if select.select([master], [], [], 0.1)[0]:
                seen += os.read(master, 65536)
        assert word in seen, (word, seen[-300:])
        seen = seen[seen.index(word) + len(word):]

    try:
        sees(b"> ")
        os.write(master, b"Tell me a very long story.\n")
        sees(b"story.\r\n")
        wait_for("the answer to begin", 20, lambda: model(cluster, "slow")["running"] == 1)
        chat.send_signal(signal.SIGINT)
        sees(b"> ")
        wait_for("the engine to drop it", 5, lambda: model(cluster, "slow")["running"] == 0)
        assert chat.poll() is None
        os.write(master, b"/reset\n")
        sees(b"> ")
        chat.send_signal(signal.SIGINT)
        assert chat.wait(10) == 0
    finally:
        chat.kill()
        chat.wait(5)
        os.close(master)
        cluster.cli("undeploy", "slow")


@check
def usage_and_failure_have_their_exit_codes(cluster):
    for code, words, args in [
            (2, "unknown option", ["status", "--nonsense"]), (2, "unknown command", ["stauts"]),
            (2, "name one model", ["deploy"]), (2, "--tp must be", ["deploy", "x", "--tp", "0"]),
            (1, "no model is called 'nope'", ["generate", "x", "--model", "nope"]),
            (1, "nothing is deployed as 'nope'", ["undeploy", "nope"])]:
        result = cluster.cli(*args, check=False)
        assert result.returncode == code and words in result.stderr, (args, result)
        assert result.stderr.count("\n") == 1, result.stderr
    for command in ("serve", "status", "nodes", "models", "deploy", "undeploy", "chat", "generate", "events"):
        text = subprocess.run([BIN + "/control-plane", command, "--help"], capture_output=True, text=True)
        assert text.returncode == 0 and "Examples" in text.stdout, command
    nobody = subprocess.run([BIN + "/control-plane", "status", "--server", f"127.0.0.1:{free_port()}"],
                            capture_output=True, text=True, timeout=30)
    assert nobody.returncode == 1 and "nobody answers" in nobody.stderr, nobody


@check
def deploying_again_and_otherwise(cluster):
    generation = model(cluster)["generation"]
    cluster.deploy("tiny", tiny_model(), 2)
    assert model(cluster)["generation"] == generation
    other = cluster.cli("deploy", "--name", "tiny", "--model", tiny_model(), "--tp", "1", check=False)
    assert other.returncode == 1 and "other options" in other.stderr, other
    missing = cluster.cli("deploy", "/does/not/exist", "--name", "lost", check=False, timeout=60)
    assert missing.returncode == 1 and "/does/not/exist" in missing.stderr, missing
    assert model(cluster, "lost")["state"] == "FAILED"
    cluster.cli("undeploy", "lost")
    assert ask(cluster, "tiny")


@check
def several_models_are_served_side_by_side(cluster):
    cluster.deploy("second", tiny_model(), 1)
    cluster.wait_ready("second")
    assert ask(cluster, "second") == ask(cluster, "tiny")
    result = cluster.cli("generate", "x", check=False)
    assert result.returncode == 1 and "second, tiny" in result.stderr, result
    cluster.cli("undeploy", "second")


@check
def a_second_agent_of_the_same_name_is_refused(cluster):
    cluster.start_process("impostor", [BIN + "/node-agent", "join", "--server", cluster.server, "--name", "agent0",
                                       "--data", cluster.dir + "/impostor"])
    try:
        wait_for("the refusal", 20, lambda: "choose another name" in cluster.log("impostor"))
        assert len(cluster.nodes()) == 2 and model(cluster)["state"] == "READY"
    finally:
        if cluster.processes["impostor"].poll() is None:
            cluster.kill("impostor")


# --- losing parts ---


@check
def a_killed_rank_is_replaced(cluster):
    before = model(cluster)
    expected, asking = ask(cluster), Asking(cluster)
    os.kill(rank_pids(cluster)[0], signal.SIGKILL)
    asking.must_end(grpc.StatusCode.UNAVAILABLE)
    after = cluster.wait_ready("tiny", 30, before["generation"])
    assert after["restarts"] == before["restarts"] + 1
    assert ask(cluster) == expected
    events = cluster.json_lines("events", "--last", "20")
    assert any(e["kind"] == "group.failed" and "rank" in e["message"] for e in events)


@check
def a_frozen_control_client_and_followers_are_no_burden(cluster):
    followers = [subprocess.Popen([BIN + "/control-plane", "events", "--follow", "--server", cluster.server],
                                  stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        followers[0].send_signal(signal.SIGSTOP)
        cluster.deploy("brief", tiny_model(), 1)
        cluster.cli("undeploy", "brief")
        assert any("brief" in line for line in iter(followers[1].stdout.readline, ""))
    finally:
        for follower in followers:
            follower.kill()
            follower.wait(5)
            follower.stdout.close()


@check
def a_restarted_control_plane_adopts_the_group(cluster):
    before, pids, expected = model(cluster), rank_pids(cluster), ask(cluster)
    cluster.kill("control", signal.SIGKILL)
    cluster.start_control()
    after = cluster.wait_ready("tiny", 30)
    assert after["generation"] == before["generation"] and rank_pids(cluster) == pids
    assert ask(cluster) == expected
    kinds = [e["kind"] for e in cluster.json_lines("events")]
    assert kinds.count("deploy.requested") >= 2, "the events of before are gone"


@check
def sigterm_lets_requests_end(cluster):
    asking, pids = Asking(cluster, max_tokens=200), rank_pids(cluster)
    process = cluster.processes["control"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0, cluster.log("control")[-2000:]
    asking.join(10)
    assert asking.error is None, asking.error
    assert rank_pids(cluster) == pids
    cluster.start_control()
    cluster.wait_ready("tiny", 30)


@check
def a_killed_agent_moves_the_group(cluster):
    before, expected, asking = model(cluster), ask(cluster), Asking(cluster)
    cluster.kill("agent1")
    asking.must_end(grpc.StatusCode.UNAVAILABLE)
    after = cluster.wait_ready("tiny", 30, before["generation"])
    assert after["agents"] == ["agent0", "agent0"], after
    assert ask(cluster) == expected
    wait_for("the loss to be told", 10, lambda: [n["name"] for n in cluster.nodes()] == ["agent0"])
    assert any(e["kind"] == "node.lost" and e["subject"] == "agent1" for e in cluster.json_lines("events"))
    cluster.start_agent("agent1")
    wait_for("the agent's return", 20, lambda: len(cluster.nodes()) == 2)


@check
def a_frozen_agent_is_lost_and_taken_back(cluster):
    cluster.processes["agent1"].send_signal(signal.SIGSTOP)
    try:
        wait_for("the loss of the frozen agent", 30, lambda: len(cluster.nodes()) == 1)
        assert ask(cluster)
    finally:
        cluster.processes["agent1"].send_signal(signal.SIGCONT)
    wait_for("its return", 30, lambda: len(cluster.nodes()) == 2)


# --- starting ---


def serve(*args, **options):
    return subprocess.run([BIN + "/control-plane", "serve", *args], capture_output=True, text=True, timeout=40,
                          **options)


def last_line(result):
    return result.stderr.strip().splitlines()[-1]


@check
def what_keeps_serve_from_starting_is_said(cluster):
    busy = serve("--listen", cluster.server, "--data", cluster.dir + "/other")
    assert busy.returncode == 1 and "is in use" in last_line(busy), busy
    listen = ("--listen", f"127.0.0.1:{free_port()}")
    taken = serve(*listen, "--data", cluster.dir + "/control")
    assert taken.returncode == 1 and "in use by another control plane" in last_line(taken), taken
    without = serve(*listen, "--data", cluster.dir + "/other", env={**os.environ, "PATH": "/nowhere"})
    assert without.returncode == 1 and "etcd-server" in last_line(without), without
    nobody = serve(*listen, "--etcd", f"http://127.0.0.1:{free_port()}")
    assert nobody.returncode == 1 and "no etcd answers" in last_line(nobody), nobody
    wrong = serve(*listen, "--etcd", "localhost")
    assert wrong.returncode == 1 and "http://host:2379" in last_line(wrong), wrong


@check
def a_standby_takes_over(cluster):
    """Two control planes on an etcd of their own (the operator's, to them)."""
    url, peer = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    cluster.start_process("etcd", ["etcd", "--data-dir", cluster.dir + "/own-etcd", "--listen-client-urls", url,
                                   "--advertise-client-urls", url, "--listen-peer-urls", peer,
                                   "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"])
    servers = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]

    def status(server):
        result = subprocess.run([BIN + "/control-plane", "status", "--json", "--server", server],
                                capture_output=True, text=True, timeout=20)
        return json.loads(result.stdout) if result.returncode == 0 else {}

    def leads(server):
        return status(server).get("leader") == server

    try:
        for name, server in zip(("first", "second"), servers):
            cluster.start_process(name, [BIN + "/control-plane", "serve", "--listen", server, "--etcd", url])
            wait_for(f"{name} to answer", 20, lambda: status(server).get("leader") == servers[0])
        refused = subprocess.run([BIN + "/control-plane", "models", "--server", servers[1]], capture_output=True,
                                 text=True, timeout=20)
        assert refused.returncode == 1 and servers[0] in refused.stderr, refused
        cluster.kill("first")
        start = time.monotonic()
        wait_for("the standby to take over", 20, lambda: leads(servers[1]))
        print(f"     after a kill the standby leads in {time.monotonic() - start:.1f} s")
        cluster.start_process("first", [BIN + "/control-plane", "serve", "--listen", servers[0], "--etcd", url])
        wait_for("the first to stand by", 20, lambda: status(servers[0]).get("leader") == servers[1])
        cluster.kill("second", signal.SIGTERM)
        start = time.monotonic()
        wait_for("the first to take over", 20, lambda: leads(servers[0]))
        print(f"     after an orderly end the standby leads in {time.monotonic() - start:.1f} s")
    finally:
        for name in ("first", "second", "etcd"):
            if name in cluster.processes and cluster.processes[name].poll() is None:
                cluster.kill(name)


run_checks_on_cluster()
