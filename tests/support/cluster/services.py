"""What kube-proxy and a DNS server do elsewhere: a listener for each ClusterIP and port, and names for services."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from support.cluster.relay import Address, Relay


class Services:
    """Fed with Services and EndpointSlices; passes connections on to an endpoint that is ready."""

    def __init__(self, gateway: str, relay: Relay, log: Callable[[str], None]) -> None:
        self.names: dict[tuple[str, str], list[str] | str] = {}
        self._gateway = gateway
        self._relay = relay
        self._log = log
        self._backends: dict[Address, list[Address]] = {}
        self._listeners: dict[Address, Callable[[], None]] = {}
        self._stores: dict[str, dict[str, Any]] = {"services": {}, "slices": {}}
        self._lock = threading.Lock()
        self._dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def start(self) -> None:
        self._dns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._dns.bind((self._gateway, 53))
        threading.Thread(target=self._answer, name="dns", daemon=True).start()

    def changed(self, store: str, event: str, thing: Any) -> None:
        """store: `services` or `slices`; thing: the object, or with SYNC all of them."""
        with self._lock:
            known = self._stores[store]
            if event == "SYNC":
                known.clear()
                known.update((one["metadata"]["uid"], one) for one in thing)
            elif event == "DELETED":
                known.pop(thing["metadata"]["uid"], None)
            else:
                known[thing["metadata"]["uid"]] = thing
            self._update()

    def _update(self) -> None:
        ready = self._ready()
        names: dict[tuple[str, str], list[str] | str] = {}
        backends: dict[Address, list[Address]] = {}
        for one in self._stores["services"].values():
            key, spec = (one["metadata"]["namespace"], one["metadata"]["name"]), one["spec"]
            address = spec.get("clusterIP")
            if spec.get("type") == "ExternalName":
                names[key] = str(spec.get("externalName", ""))
            elif address in (None, "", "None"):
                found = (place for at, places in ready.items() if at[:2] == key for place in places)
                names[key] = sorted({host for host, _ in found})
            else:
                names[key] = [address]
                for port in spec.get("ports") or []:
                    if port.get("protocol", "TCP") == "TCP":
                        backends[address, port["port"]] = ready.get((*key, port.get("name") or ""), [])
        self.names, self._backends = names, backends
        self._listen()

    def _ready(self) -> dict[tuple[str, str, str], list[Address]]:
        """(namespace, service, port's name) -> endpoints that are ready."""
        found: dict[tuple[str, str, str], list[Address]] = {}
        for one in self._stores["slices"].values():
            meta = one["metadata"]
            service = (meta.get("labels") or {}).get("kubernetes.io/service-name", meta["name"])
            for endpoint in one.get("endpoints") or []:
                if (endpoint.get("conditions") or {}).get("ready", True):
                    for port in one.get("ports") or []:
                        places = found.setdefault((meta["namespace"], service, port.get("name") or ""), [])
                        places += [(host, port["port"]) for host in endpoint["addresses"]]
        return found

    def _listen(self) -> None:
        for gone in set(self._listeners) - set(self._backends):
            self._listeners.pop(gone)()
        for new in set(self._backends) - set(self._listeners):
            try:
                self._listeners[new] = self._relay.open(new, lambda at=new: self._backends.get(at, []))  # type: ignore[misc]
            except OSError as error:
                self._log(f"service {new}: {error}")

    # Names

    def _answer(self) -> None:
        """A records for services: the ClusterIP, a headless one's endpoints, the target of an ExternalName."""
        while True:
            query, sender = self._dns.recvfrom(512)
            with suppress(OSError, IndexError, UnicodeDecodeError):
                self._dns.sendto(self._reply(query), sender)

    def _reply(self, query: bytes) -> bytes:
        labels, end = _labels(query)
        kind, question = int.from_bytes(query[end : end + 2], "big"), query[12 : end + 4]
        known = self._known(labels)
        addresses = known if known and kind == 1 else []
        code = 3 if known is None else 0
        out = (
            query[:2]
            + bytes([0x85, 0x80 | code])
            + b"\0\1"
            + len(addresses).to_bytes(2, "big")
            + b"\0\0\0\0"
            + question
        )
        for address in addresses:
            out += b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(address)
        return out

    def _known(self, labels: list[str]) -> list[str] | None:
        if len(labels) < 2 or labels[2:] not in ([], ["svc"], ["svc", "cluster", "local"]):
            return None
        found = self.names.get((labels[1], labels[0]))
        if isinstance(found, str):  # ExternalName
            target = found.split(".")
            again = self.names.get((target[1], target[0])) if len(target) > 1 else None
            return again if isinstance(again, list) else None
        return found


def _labels(query: bytes) -> tuple[list[str], int]:
    """The name's labels, and where the question's type begins."""
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii").lower())
        at += query[at] + 1
    return labels, at + 1
