"""agent.py - a scripted control plane, to drive real agents and ranks through every turn.

    with Control() as control:
        agent = control.start_agent("a", "--models", models)
        group = control.launch("g", 1, [agent], model=path, tp=2)
        group.wait_ready()
        text = group.generate(b"Hello")

It speaks phalanx.v1.Cluster with the stock Python gRPC, records what agents say and answers what a
test tells it to. Everything runs in a folder of its own, is ended by pid, and has a deadline.
"""
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from concurrent import futures

import grpc

from cluster import BIN, free_port, stubs, wait_for

modules = stubs()
cluster_pb, cluster_rpc = modules["cluster"]
engine_pb, engine_rpc = modules["engine"]
inference_pb, _ = modules["inference"]

STARTED, LOADING, READY, ENDED, STUCK = 1, 2, 3, 4, 5


class Agent:
    """What the control plane knows of one agent, over all its streams."""

    def __init__(self, control, name):
        self.control, self.name = control, name
        self.process = None
        self.register = None        # the newest one
        self.streams = 0            # how often it registered
        self.messages = []          # all but heartbeats
        self.heartbeats = 0
        self.outgoing = None        # of the living stream

    def send(self, **kind):
        self.outgoing.put(cluster_pb.ControlMessage(**kind))

    def reports(self, group, generation):
        """Newest report of each rank."""
        newest = {}
        for message in list(self.messages):
            if message.WhichOneof("kind") == "rank":
                report = message.rank
                if (report.group, report.generation) == (group, generation):
                    newest[report.rank] = report
        return newest

    def launch_ended(self, group, generation):
        for message in list(self.messages):
            if message.WhichOneof("kind") == "launch_ended":
                ended = message.launch_ended
                if (ended.group, ended.generation) == (group, generation):
                    return ended
        return None

    def place(self):
        r = self.register
        return cluster_pb.RankPlace(agent=r.agent, machine=r.machine, address=r.address,
                                    socket_path=r.socket_path, program=r.program)

    def log(self):
        return open(os.path.join(self.control.dir, self.name + ".log"), errors="replace").read()

    def kill(self, sig=signal.SIGKILL):
        self.process.send_signal(sig)
        return self.process.wait(20)


class Group:
    def __init__(self, name, generation, secret, places):
        self.name, self.generation, self.secret, self.places = name, generation, secret, places

    def reports(self):
        return {rank: agent.reports(self.name, self.generation).get(rank)
                for rank, agent in enumerate(self.places)}

    def states(self):
        return [report.state if report else 0 for _, report in sorted(self.reports().items())]

    def pids(self):
        return [report.pid for _, report in sorted(self.reports().items())]

    def wait_ready(self, seconds=60):
        def probe():
            states = self.states()
            assert ENDED not in states and STUCK not in states, \
                [r and r.message for r in self.reports().values()] + [a.log()[-2000:] for a in set(self.places)]
            return all(state == READY for state in states)
        wait_for(f"group {self.name} to be ready", seconds, probe)
        return self

    def wait_ended(self, seconds=10):
        wait_for(f"group {self.name} to end", seconds, lambda: all(s == ENDED for s in self.states()))
        return self.reports()

    def serve(self, secret=None):
        return Serve(self.reports()[0].engine_address, self.secret if secret is None else secret)

    def generate(self, prompt=b"Once upon a time", max_tokens=12, seconds=30):
        with self.serve() as stream:
            return stream.generate(1, prompt, max_tokens, seconds)


class Serve:
    """One Engine stream, as a router holds it."""

    def __init__(self, address, secret):
        self.channel = grpc.insecure_channel(address)
        self.requests = queue.Queue()
        self.events = engine_rpc.EngineStub(self.channel).Serve(
            iter(self.requests.get, None), metadata=[("phalanx-group-secret", secret)], timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.requests.put(None)
        self.events.cancel()
        self.channel.close()

    def submit(self, id, prompt=b"Once upon a time", max_tokens=12, **generate):
        request = inference_pb.GenerateRequest(
            text=prompt, sampling=inference_pb.Sampling(temperature=0),
            stopping=inference_pb.Stopping(max_tokens=max_tokens, ignore_eos=True), **generate)
        self.requests.put(engine_pb.EngineRequest(submit=engine_pb.EngineSubmit(id=id, generate=request)))

    def cancel(self, id):
        self.requests.put(engine_pb.EngineRequest(cancel=engine_pb.EngineCancel(id=id)))

    def answers(self, ids, seconds=30):
        """Reads until every id has ended: {id: (text, token ids, Done or EngineFailed)}."""
        open_ids, texts = set(ids), {id: (b"", [], None) for id in ids}
        end = time.monotonic() + seconds
        for event in self.events:
            assert time.monotonic() < end, "too late"
            kind = event.WhichOneof("kind")
            if kind == "outputs":
                for output in event.outputs.outputs:
                    assert output.id in open_ids, "an output after the end"
                    text, tokens, _ = texts[output.id]
                    done = output.part.done if output.part.HasField("done") else None
                    texts[output.id] = (text + output.part.text, tokens + list(output.part.token_ids), done)
                    if done:
                        open_ids.discard(output.id)
            elif kind == "failed" and event.failed.id in open_ids:
                text, tokens, _ = texts[event.failed.id]
                texts[event.failed.id] = (text, tokens, event.failed)
                open_ids.discard(event.failed.id)
            if not open_ids:
                return texts
        raise AssertionError("the stream ended first")

    def generate(self, id=1, prompt=b"Once upon a time", max_tokens=12, seconds=30):
        self.submit(id, prompt, max_tokens)
        text, tokens, done = self.answers([id], seconds)[id]
        assert isinstance(done, inference_pb.Done), done
        assert len(tokens) == max_tokens == done.output_tokens, (tokens, done)
        return text


class Control(cluster_rpc.ClusterServicer):
    def __init__(self, host="127.0.0.1"):
        self.dir = tempfile.mkdtemp(prefix="phalanx-agent-")
        self.host, self.port = host, free_port()
        self.agents, self.remote, self.refusal, self.server = {}, {}, None, None
        self.lock = threading.Lock()
        self.closing = threading.Event()

    def __enter__(self):
        self.listen()
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            for agent in self.agents.values():
                print(f"--- log of {agent.name}\n{agent.log()[-3000:]}")
        for agent in self.agents.values():
            if agent.process and agent.process.poll() is None:
                agent.process.terminate()
        for agent in self.agents.values():
            if agent.process:
                try:
                    agent.process.wait(10)
                except subprocess.TimeoutExpired:
                    agent.process.kill()
        self.silence()
        shutil.rmtree(self.dir, ignore_errors=True)

    def listen(self):
        self.closing = threading.Event()
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
        cluster_rpc.add_ClusterServicer_to_server(self, self.server)
        assert self.server.add_insecure_port(f"{self.host}:{self.port}") == self.port
        self.server.start()

    def silence(self):
        """The control plane dies."""
        self.closing.set()
        self.server.stop(0).wait()

    def Join(self, incoming, context):
        first = next(incoming)
        assert first.WhichOneof("kind") == "register_"
        if self.refusal:
            context.abort(*self.refusal)
        outgoing, closing = queue.Queue(), self.closing
        with self.lock:
            agent = self.agents[first.register_.agent]
            agent.register, agent.outgoing = first.register_, outgoing
            agent.streams += 1
        threading.Thread(target=self.read, args=(agent, incoming), daemon=True).start()
        yield cluster_pb.ControlMessage(registered=cluster_pb.Registered(heartbeat_ms=200))
        while not closing.is_set():
            try:
                yield outgoing.get(timeout=0.05)
            except queue.Empty:
                pass

    def read(self, agent, incoming):
        try:
            for message in incoming:
                if message.WhichOneof("kind") == "heartbeat":
                    agent.heartbeats += 1
                else:
                    agent.messages.append(message)
                    self.relay(agent, message)
        except grpc.RpcError:
            pass

    def relay(self, agent, message):
        """Remote starts pass through the control plane: to the agent at that address, and back."""
        kind = message.WhichOneof("kind")
        if kind == "remote_start":
            ask = message.remote_start
            target = next((a for a in self.agents.values() if a.register and a.register.address == ask.host), None)
            if target is None:
                agent.send(remote_exit=cluster_pb.RemoteExit(id=ask.id, exit_code=1, message=f"no agent at {ask.host}"))
                return
            self.remote[ask.id] = (agent, target)
            target.send(remote_start=cluster_pb.RemoteStart(
                id=ask.id, group=ask.group, generation=ask.generation, argv=ask.argv))
        elif kind == "remote_output" and message.remote_output.id in self.remote:
            self.remote[message.remote_output.id][0].send(remote_output=message.remote_output)
        elif kind == "remote_exit" and message.remote_exit.id in self.remote:
            self.remote[message.remote_exit.id][0].send(remote_exit=message.remote_exit)
        elif kind == "remote_signal" and message.remote_signal.id in self.remote:
            self.remote[message.remote_signal.id][1].send(remote_signal=message.remote_signal)

    def start_agent(self, name, *args, env=None, wait=True, inside=()):
        """`inside`: words put before the command, to run it in a network namespace."""
        agent = self.agents.setdefault(name, Agent(self, name))
        before = agent.streams
        with open(os.path.join(self.dir, name + ".log"), "ab") as log:
            agent.process = subprocess.Popen(
                [*inside, BIN + "/node-agent", "join", "--server", f"{self.host}:{self.port}", "--name", name,
                 "--data", f"{self.dir}/{name}", *args],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)

        def joined():
            assert agent.process.poll() is None, agent.log()[-2000:]
            return agent.streams > before
        if wait:
            wait_for(f"agent {name} to register", 20, joined)
        return agent

    def launch(self, name, generation, places, model, tp=1, pp=1, threads=1, **more):
        """`places`: the agent of each rank; the first one launches."""
        secret = f"secret-of-{name}-{generation}"
        group = Group(name, generation, secret, places)
        for agent in set(places[1:]) - {places[0]}:
            ranks = [rank for rank, owner in enumerate(places) if owner is agent]
            agent.send(expect=cluster_pb.Expect(group=name, generation=generation, ranks=ranks, secret=secret))
        places[0].send(launch=cluster_pb.Launch(
            group=name, generation=generation, model_path=model, tp=tp, pp=pp, threads=threads,
            ranks=[agent.place() for agent in places], secret=secret, **more))
        return group


def alive(pid):
    """A zombie does not count."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
