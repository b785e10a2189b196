"""netns.py - network namespaces as machines: a bridge, and hosts on it with names of their own.

    with Network(2) as network:
        subprocess.run([*network.inside(0), "hostname"])

Everything has this process's id in its name and is removed at the end, however it comes.
"""
import atexit
import os
import shutil
import subprocess

from cluster import skip


class Network:
    def __init__(self, hosts):
        if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
            skip("network namespaces need root, ip and unshare")
        tag = os.getpid() % 60000
        self.names = [f"phx{tag}h{i}" for i in range(hosts)]
        self.bridge = f"phx{tag}br"
        self.prefix = f"10.{200 + tag % 50}.{tag // 50 % 250}"
        self.gateway = f"{self.prefix}.254"  # this process's own side
        self.addresses = [f"{self.prefix}.{i + 1}" for i in range(hosts)]
        self.made = []

    def __enter__(self):
        atexit.register(self.remove)
        try:
            self.make()
        except subprocess.CalledProcessError as error:
            self.remove()
            skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
        return self

    def __exit__(self, *unused):
        self.remove()

    def make(self):
        self.ip("link", "add", self.bridge, "type", "bridge", undo=("link", "del", self.bridge))
        self.ip("addr", "add", f"{self.gateway}/24", "dev", self.bridge)
        self.ip("link", "set", self.bridge, "up")
        for name, address in zip(self.names, self.addresses):
            self.ip("netns", "add", name, undo=("netns", "del", name))
            self.ip("link", "add", name, "type", "veth", "peer", "name", "uplink", "netns", name,
                    undo=("link", "del", name))
            self.ip("link", "set", name, "master", self.bridge, "up")
            self.ip("-n", name, "addr", "add", f"{address}/24", "dev", "uplink")
            self.ip("-n", name, "link", "set", "uplink", "up")
            self.ip("-n", name, "link", "set", "lo", "up")

    def ip(self, *words, undo=None):
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=20)
        if undo:
            self.made.append(undo)

    def remove(self):
        while self.made:
            subprocess.run(["ip", *self.made.pop()], capture_output=True, timeout=20)

    def inside(self, host):
        """Words that run a command on that host; it replaces them, so its pid is the one started."""
        return ["ip", "netns", "exec", self.names[host], "unshare", "--uts", "sh", "-c",
                f'hostname {self.names[host]}; exec "$@"', "sh"]

    def cut(self, host):
        self.ip("link", "set", self.names[host], "down")

    def mend(self, host):
        self.ip("link", "set", self.names[host], "up")
