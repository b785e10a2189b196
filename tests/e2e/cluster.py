"""cluster.py - a real cluster on loopback for the end-to-end checks: control plane, agents, models.

    with Cluster(agents=2) as cluster:
        cluster.deploy("tiny", model=cluster.tiny_model(), tp=2)
        stub = cluster.inference()

Everything runs in a folder of its own and is ended by pid; every wait has a deadline.
"""
import atexit
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SOURCE = os.environ.get("PX_SOURCE") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("PX_BUILD") or os.path.join(SOURCE, "build", "test")
BIN = os.environ.get("PX_BIN") or os.path.join(BUILD, "bin")
SKIP = 77


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIP)


try:
    import grpc
    from grpc_tools import protoc
except ImportError:
    skip("the Python packages of tests/requirements.txt are missing (set PX_PYTHON, or use tests/run.sh)")


def stubs():
    """Compile our protos into the build tree and return (messages, services) by module name."""
    out = os.path.join(BUILD, "python-stubs")
    os.makedirs(out, exist_ok=True)
    proto = os.path.join(SOURCE, "proto")
    files = sorted(glob.glob(proto + "/phalanx/v1/*.proto"))
    newest = max(map(os.path.getmtime, files))
    stamp = os.path.join(out, "stamp")
    if not os.path.exists(stamp) or os.path.getmtime(stamp) < newest:
        if protoc.main(["protoc", "-I", proto, "--python_out", out, "--grpc_python_out", out, *files]) != 0:
            raise RuntimeError("protoc refused our protos")
        open(stamp, "w").close()
    if out not in sys.path:
        sys.path.insert(0, out)
    import importlib
    names = ("inference", "engine", "cluster", "admin")
    return {n: (importlib.import_module(f"phalanx.v1.{n}_pb2"), importlib.import_module(f"phalanx.v1.{n}_pb2_grpc"))
            for n in names}


_given_ports = set()


def free_port(low=20000, high=32000):
    """A port below the ephemeral range that nobody listens on now, and that was not given before."""
    start = low + (os.getpid() * 37 + time.monotonic_ns() // 1000) % (high - low)
    for k in range(high - low):
        port = low + (start - low + k) % (high - low)
        if port in _given_ports:
            continue
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                _given_ports.add(port)
                return port
            except OSError:
                continue
    raise RuntimeError("no free port")


def wait_for(what, seconds, probe):
    """Poll `probe` until it returns something true; its last value."""
    end = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.05)


def smollm2():
    path = os.path.join(SOURCE, "models/SmolLM2-135M-Instruct/1/SmolLM2-135M-Instruct.Q4_1.gguf")
    return path if os.path.exists(path) else None


def tiny_model():
    """A small llama with a tokenizer and a chat template: shared golden data, or our own."""
    for root in (os.environ.get("PX_GOLDEN"), os.path.join(SOURCE, "../shared/golden")):
        if root and os.path.isdir(os.path.join(root, "tiny/llama_smollm2")):
            return os.path.abspath(os.path.join(root, "tiny/llama_smollm2"))
    own = sorted(glob.glob(os.path.join(SOURCE, "tests/golden/data/*/tokenizer.json")))
    if own:
        return os.path.dirname(own[0])
    skip("there is no tiny model in tests/golden/data")


class Cluster:
    def __init__(self, agents=2, control_args=(), agent_args=()):
        self.agent_count, self.control_args, self.agent_args = agents, list(control_args), list(agent_args)
        self.processes = {}
        self.dir = tempfile.mkdtemp(prefix="phalanx-e2e-")
        self.port = free_port()
        self.server = f"127.0.0.1:{self.port}"
        self.channels = []
        atexit.register(self.stop)

    # --- processes ---

    def start_process(self, name, argv):
        log = open(os.path.join(self.dir, name + ".log"), "ab")
        self.processes[name] = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                                start_new_session=True)
        log.close()
        return self.processes[name]

    def start_control(self):
        self.start_process("control", [BIN + "/control-plane", "serve", "--listen", self.server,
                                       "--data", self.dir + "/control", *self.control_args])
        wait_for("the control plane", 20, lambda: self.cli("nodes", check=False).returncode == 0)

    def start_agent(self, name):
        self.start_process(name, [BIN + "/node-agent", "join", "--server", self.server, "--name", name,
                                  "--data", f"{self.dir}/{name}", *self.agent_args])

    def agent_names(self):
        return [f"agent{i}" for i in range(self.agent_count)]

    def kill(self, name, sig=signal.SIGKILL):
        process = self.processes[name]
        process.send_signal(sig)
        process.wait(20)

    def log(self, name):
        try:
            return open(os.path.join(self.dir, name + ".log"), errors="replace").read()
        except OSError:
            return ""

    # --- life ---

    def __enter__(self):
        self.start_control()
        for name in self.agent_names():
            self.start_agent(name)
        wait_for("the agents", 20, lambda: len(self.nodes()) >= self.agent_count)
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            for name in self.processes:
                print(f"--- log of {name}\n{self.log(name)[-3000:]}")
        self.stop()

    def stop(self):
        for channel in self.channels:
            channel.close()
        self.channels = []
        for name, process in reversed(list(self.processes.items())):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        self.processes = {}
        shutil.rmtree(self.dir, ignore_errors=True)

    # --- clients ---

    def cli(self, *args, check=True, timeout=90, input=None):
        result = subprocess.run([BIN + "/control-plane", *args, "--server", self.server], capture_output=True,
                                text=True, timeout=timeout, input=input)
        if check and result.returncode != 0:
            raise RuntimeError(f"control-plane {' '.join(args)}: exit {result.returncode}: {result.stderr.strip()}")
        return result

    def json_lines(self, *args):
        return [json.loads(line) for line in self.cli(*args, "--json").stdout.splitlines() if line.strip()]

    def nodes(self):
        return self.json_lines("nodes")

    def models(self):
        return self.json_lines("models")

    def deploy(self, name, model, tp=1, pp=1, *more):
        return self.cli("deploy", "--name", name, "--model", model, "--tp", str(tp), "--pp", str(pp), *more)

    def wait_ready(self, name, seconds=60, generation_over=0):
        def ready():
            for model in self.models():
                if model["name"] == name and model["state"] == "READY" and model["generation"] > generation_over:
                    return model
            return None
        return wait_for(f"model {name} to be READY", seconds, ready)

    def channel(self):
        channel = grpc.insecure_channel(self.server)
        self.channels.append(channel)
        return channel

    def inference(self):
        return stubs()["inference"][1].InferenceStub(self.channel())

    def admin(self):
        return stubs()["admin"][1].AdminStub(self.channel())


checks = []


def check(function):
    """A decorator: run_checks() runs what carries it, in the file's order."""
    checks.append(function)
    return function


def run_checks(run):
    """run(check) for all checks, or for those that the command line names."""
    for function in checks:
        if len(sys.argv) > 1 and function.__name__ not in sys.argv[1:]:
            continue
        begin = time.monotonic()
        run(function)
        print(f"ok   {function.__name__} ({time.monotonic() - begin:.1f} s)", flush=True)


def run_checks_on_cluster():
    """One cluster of two agents for all checks, with the model "tiny" over both."""
    with Cluster(agents=2) as cluster:
        cluster.deploy("tiny", tiny_model(), 2)
        cluster.wait_ready("tiny")
        run_checks(lambda function: function(cluster))
