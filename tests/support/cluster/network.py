"""A network for pods: a bridge, a namespace for each pod, and every ClusterIP an address of this machine.

Several clusters can be up at once: each takes a number, and with it a /16 of its own. The lock on the number goes
with its process, so that what a killed one has left is known as such.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from support.servers import CACHE, Unavailable

NETWORKS = range(200, 220)  # 10.200.0.0/16 and so on
NAMES = "upon-"  # of the pods' network namespaces
CLONE_NEWNET = 0x40000000


def ip(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class Network:
    """number: the second of its addresses' four."""

    number: int
    lock: IO[str] = field(repr=False)

    @property
    def bridge(self) -> str:
        return f"upon{self.number}"

    @property
    def gateway(self) -> str:
        """This machine, as pods see it."""
        return f"10.{self.number}.0.1"

    @property
    def services(self) -> str:
        """The range of ClusterIPs."""
        return f"10.{self.number}.128.0/17"

    @property
    def api(self) -> str:
        """The first ClusterIP is the API server's."""
        return f"10.{self.number}.128.1"

    @property
    def pods(self) -> list[str]:
        return [f"10.{self.number}.0.{host}" for host in range(10, 250)]

    def up(self) -> None:
        self.down()  # what a run that was killed has left
        ip("link", "add", self.bridge, "address", mac(self.gateway), "type", "bridge")
        ip("addr", "add", f"{self.gateway}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        ip("route", "replace", "local", self.services, "dev", "lo")

    def down(self) -> None:
        ip("link", "del", self.bridge, check=False)
        ip("route", "del", "local", self.services, "dev", "lo", check=False)

    def join(self, name: str, address: str, link: str) -> None:
        """A namespace of this name with one address on the bridge. link: at most 13 letters, unique."""
        here, there = f"v{link}", f"p{link}"
        ip("netns", "add", name)
        ip("link", "add", here, "type", "veth", "peer", "name", there)
        ip("link", "set", here, "master", self.bridge, "up")
        ip("link", "set", there, "address", mac(address), "netns", name, "name", "eth0")
        inside = ("-n", name)
        ip(*inside, "addr", "add", f"{address}/24", "dev", "eth0")
        ip(*inside, "link", "set", "eth0", "up")
        ip(*inside, "link", "set", "lo", "up")
        ip(*inside, "route", "add", "default", "via", self.gateway)


def mac(address: str) -> str:
    """A bridge left to itself changes its own with its ports, and everybody's last answer for it leads nowhere for
    seconds; a pod that gets the address of another has the other's, too."""
    return ":".join(["0a", "58", *(f"{int(part):02x}" for part in address.split("."))])


def leave(name: str, link: str) -> None:
    ip("netns", "del", name, check=False)
    ip("link", "del", f"v{link}", check=False)


def claim() -> Network:
    """A network that nobody has. Raises Unavailable."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for number in NETWORKS:
        lock = open(CACHE / f"network-{number}.lock", "w")  # noqa: SIM115 - held until the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        network = Network(number, lock)
        if not _is_foreign(network):
            return network
        lock.close()
    raise Unavailable("no network is free for a cluster: every 10.200.0.0/16 to 10.219.0.0/16 is in use")


def _is_foreign(network: Network) -> bool:
    """Whether this machine has a use of its own for the addresses."""
    routes = [line for line in ip("-4", "route").splitlines() if f"dev {network.bridge} " not in line]
    return any(line.startswith(f"10.{network.number}.") for line in routes)


def listener(name: str, port: int) -> socket.socket:
    """A socket that listens at 127.0.0.1 of the namespace with this name."""
    with ThreadPoolExecutor(1) as thread:  # a thread can change its namespace alone; this one ends then
        return thread.submit(_listener, Path("/run/netns") / name, port).result()


def _listener(namespace: Path, port: int) -> socket.socket:
    fd = os.open(namespace, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    finally:
        os.close(fd)
    return socket.create_server(("127.0.0.1", port))
