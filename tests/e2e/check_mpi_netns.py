"""Plain mpirun over two machines (network namespaces) without ssh: the same logits as alone."""
import array
import json
import os
import shutil
import stat
import subprocess
import tempfile
import time

from cluster import BIN, skip, tiny_model
from netns import Network

MODEL = tiny_model()
IDS = "18 58 58 22 90 50 93 44 55 64 14 68 15 10 94 58 33 6 84 82 26"
BUILD = os.environ["PX_BUILD"]
TOLERANCE = 1e-4  # other partial sums, float32


class World:
    """mpirun on host 0 with slots on both hosts."""

    def __init__(self, network, folder):
        self.network = network
        self.folder = folder
        # What mpirun calls in place of ssh, with the host and the words of a command.
        self.start = os.path.join(folder, "remote-start")
        with open(self.start, "w", encoding="utf-8") as f:
            f.write('#!/bin/sh\nhost=$1\nshift\n'
                    'exec ip netns exec "$host" unshare --uts sh -c "hostname $host; $*"\n')
        os.chmod(self.start, stat.S_IRWXU)

    def run(self, slots, *command, timeout=60):
        hosts = ",".join(f"{name}:{n}" for name, n in zip(self.network.names, slots))
        subnet = f"{self.network.prefix}.0/24"
        mca = {"plm_rsh_agent": self.start, "plm_rsh_no_tree_spawn": "1", "pml": "ob1",
               "btl": "tcp,self,vader", "oob_tcp_if_include": subnet, "btl_tcp_if_include": subnet}
        words = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--host", hosts, "-n", str(sum(slots))]
        for key, value in mca.items():
            words += ["--mca", key, value]
        return subprocess.run([*self.network.inside(0), *words, *command], capture_output=True, text=True,
                              timeout=timeout)


def logits_of(run, folder, *options):
    tokens, path = os.path.join(folder, "ids"), os.path.join(folder, "logits.f32")
    with open(tokens, "w", encoding="utf-8") as f:
        f.write(IDS)
    done = run(os.path.join(BIN, "node-agent"), "score", "--model", MODEL, "--tokens", tokens, "--logits", path,
               "--threads", "1", "--json", *options)
    assert done.returncode == 0, done.stderr
    values = array.array("f")
    with open(path, "rb") as f:
        values.frombytes(f.read())
    os.remove(path)
    return values, json.loads(done.stdout.splitlines()[-1])


def same_logits_over_two_machines(world, folder):
    alone = lambda *words: subprocess.run(words, capture_output=True, text=True, timeout=60)
    want, want_sum = logits_of(alone, folder)
    for slots, options in (((1, 1), ("--tp", "2")), ((1, 1), ("--pp", "2")), ((2, 1), ("--tp", "3")),
                           ((2, 2), ("--tp", "2", "--pp", "2"))):
        got, got_sum = logits_of(lambda *words: world.run(slots, *words), folder, *options)
        worst = max(abs(x - y) for x, y in zip(got, want, strict=True))
        print(f"    {slots[0]} + {slots[1]} ranks, {' '.join(options)}: logits differ by {worst:.1e}")
        assert worst <= TOLERANCE
        assert abs(got_sum["nll_sum"] - want_sum["nll_sum"]) <= 1e-3


def comm_keeps_its_promises(world):
    program = os.path.join(BUILD, "tests", "mpi_comm")
    if not os.path.exists(program):
        print("    without mpi_comm: this build has no MPI tests")
        return
    for slots, case in (((1, 1), "all"), ((2, 1), "all"), ((1, 1), "late"), ((2, 1), "words")):
        done = world.run(slots, program, case)
        assert done.returncode == 0, f"{slots} {case}: {done.stdout}{done.stderr}"
    begin = time.monotonic()
    done = world.run((1, 1), program, "killed")
    assert done.returncode != 0
    print(f"    a killed rank ended the job after {time.monotonic() - begin:.1f} s")


def main():
    if not shutil.which("mpirun"):
        skip("mpirun is not installed")
    with Network(2) as network, tempfile.TemporaryDirectory() as folder:
        world = World(network, folder)
        same_logits_over_two_machines(world, folder)
        comm_keeps_its_promises(world)


main()
