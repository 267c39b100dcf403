"""Ports of this machine's 127.0.0.1, lent to pods: the same address leads them to the same server.

A broker tells its clients an address to come back to, and there is one for everybody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from support.cluster.network import listener
from support.cluster.relay import Relay


class Lending:
    """Pods are known by the name of their network namespace."""

    def __init__(self, relay: Relay, log: Callable[[str], None]) -> None:
        self._relay = relay
        self._log = log
        self._ports: set[int] = set()
        self._pods: dict[str, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()

    def lend(self, port: int) -> None:
        """To every pod, those to come as well."""
        with self._lock:
            if port not in self._ports:
                self._ports.add(port)
                for name in self._pods:
                    self._open(name, port)

    def joined(self, name: str) -> None:
        with self._lock:
            self._pods[name] = []
            for port in self._ports:
                self._open(name, port)

    def left(self, name: str) -> None:
        with self._lock:
            for close in self._pods.pop(name, []):
                close()

    def _open(self, name: str, port: int) -> None:
        try:
            self._pods[name].append(self._relay.open(listener(name, port), lambda: [("127.0.0.1", port)]))
        except OSError as error:  # a server of the pod's own has the port
            self._log(f"port {port} of 127.0.0.1 can't be lent to {name}: {error}")
