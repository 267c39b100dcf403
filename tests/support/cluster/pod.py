"""The life of one pod: its network, its volumes, its containers, its status, its end."""

from __future__ import annotations

import json
import shutil
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.cluster import network
from support.cluster.container import Container, now
from support.cluster.rest import ApiFault
from support.cluster.volumes import ConfigError, Sources, make_volumes

if TYPE_CHECKING:
    from support.cluster.node import Node

LOOK, LOOK_WHEN_READY = 0.1, 0.5  # seconds
AGAIN = 1.0


class Pod:
    """Begun with `start`, ended with `end`; everything happens in threads of its own."""

    def __init__(self, node: Node, thing: dict[str, Any]) -> None:
        self.node = node
        self.thing = thing
        self.uid = str(thing["metadata"]["uid"])
        self.namespace = str(thing["metadata"]["namespace"])
        self.name = str(thing["metadata"]["name"])
        self.address = ""
        self.net = f"{network.NAMES}{self.uid[:8]}"
        self.ending = threading.Event()
        self.sources = Sources(node.rest, thing, node.network.gateway)
        self.volumes: dict[str, Path] = {}
        self.containers = [Container(self, spec) for spec in thing["spec"]["containers"]]
        self._folder = node.folder / "pods" / self.uid
        self._lock = threading.Lock()
        self._end_begun = False
        self._deadline = 0.0
        self._began = now()
        self._since: dict[str, tuple[bool, str]] = {}
        self._told = ""
        self._tell_lock = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"pod-{self.name}", daemon=True).start()

    def log(self, text: str) -> None:
        self.node.log(f"pod {self.namespace}/{self.name}: {text}")

    def log_of(self, container: str, *, previous: bool = False) -> Path:
        """Where a container's output is."""
        return self.node.folder / "logs" / f"{self.uid}.{container}{'.previous' if previous else ''}"

    # Its beginning

    def _run(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.address = self.sources.address = self.node.take_address()
            with self._lock:  # whoever ends it takes all of this down, or nothing
                if self.ending.is_set():
                    return
                self.node.network.join(self.net, self.address, self.uid[:8])
                self.node.lending.joined(self.net)
            self._wait_for_volumes()
            for container in self.containers:
                threading.Thread(target=self._supervise, args=(container,), daemon=True).start()
            while not self.ending.is_set():
                self._look()
        except Exception:
            if not self.ending.is_set():
                self.log(traceback.format_exc())

    def _supervise(self, container: Container) -> None:
        try:
            container.supervise()
        except Exception:
            self.log(traceback.format_exc())

    def _wait_for_volumes(self) -> None:
        """A volume whose source is missing keeps the pod in ContainerCreating, as it does elsewhere."""
        while not self.ending.is_set():
            try:
                self.volumes = make_volumes(self.thing, self.sources, self._folder)
                return
            except (ConfigError, ApiFault, OSError) as error:
                self.log(f"volumes: {error}")
                self.tell()
                self.ending.wait(AGAIN)

    def _look(self) -> None:
        for container in self.containers:
            container.look()
        self.tell()
        self.ending.wait(LOOK_WHEN_READY if all(one.ready for one in self.containers) else LOOK)

    # Its status

    def tell(self) -> None:
        """The API server, if there is anything new; with the next look again, where it did not hear it."""
        with self._tell_lock:
            status = self._status()
            text = json.dumps(status, sort_keys=True)
            if text == self._told:
                return
            path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}/status"
            try:
                self.node.rest.patch(path, {"metadata": {"uid": self.uid}, "status": status})
                self._told = text
            except ApiFault as fault:
                if fault.status not in (404, 409):
                    self.log(f"status: {fault}")
            except OSError:
                pass

    def _status(self) -> dict[str, Any]:
        found = [container.status() for container in self.containers]
        ready = bool(found) and all(one["ready"] for one in found)
        conditions = [("PodScheduled", True), ("Initialized", True), ("ContainersReady", ready), ("Ready", ready)]
        told: dict[str, Any] = {
            "phase": _phase(found),
            "conditions": [self._condition(kind, good, found) for kind, good in conditions],
            "containerStatuses": found,
            "hostIP": self.node.network.gateway,
            "startTime": self._began,
        }
        return {**told, "podIP": self.address, "podIPs": [{"ip": self.address}]} if self.address else told

    def _condition(self, kind: str, good: bool, found: list[dict[str, Any]]) -> dict[str, Any]:
        if self._since.get(kind, (None, ""))[0] is not good:
            self._since[kind] = (good, now())
        condition = {"type": kind, "status": str(good), "lastTransitionTime": self._since[kind][1]}
        if good:
            return condition
        names = " ".join(one["name"] for one in found if not one["ready"])
        return {**condition, "reason": "ContainersNotReady", "message": f"containers with unready status: [{names}]"}

    # Its end

    def end(self, *, forced: bool = False) -> None:
        """With the grace that it was deleted with; forced, or asked again with less, in less time."""
        grace = 0.0 if forced else float(self.thing["metadata"].get("deletionGracePeriodSeconds") or 0)
        with self._lock:
            deadline = time.monotonic() + grace
            self._deadline = min(deadline, self._deadline) if self._end_begun else deadline
            begun, self._end_begun = self._end_begun, True
            self.ending.set()
        if not begun:
            threading.Thread(target=self._end, args=(forced,), name=f"end-{self.name}", daemon=True).start()

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _end(self, forced: bool) -> None:
        if not forced:
            stops = [threading.Thread(target=one.stop, args=(self._left,), daemon=True) for one in self.containers]
            for stop in stops:
                stop.start()
            self.tell()
            for stop in stops:
                stop.join()
        self.destroy()
        if not forced:
            self._forget()
        self.node.pods.pop(self.uid, None)

    def _forget(self) -> None:
        options: dict[str, Any] = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
        while not self.node.over.is_set():
            try:
                self.node.rest.delete(f"/api/v1/namespaces/{self.namespace}/pods/{self.name}", **options)
                return
            except ApiFault as fault:
                if fault.status in (404, 409):
                    return
                self.log(f"delete: {fault}")
            except OSError:
                pass  # the API server is away
            self.node.over.wait(AGAIN)

    def destroy(self) -> None:
        """Every process and its network, at once."""
        self.ending.set()
        with self._lock:
            for container in self.containers:
                if container.process is not None:
                    container.process.kill()
            self.node.lending.left(self.net)
            network.leave(self.net, self.uid[:8])
            if self.address:
                self.node.give_address(self.address)
                self.address = ""
        shutil.rmtree(self._folder, ignore_errors=True)


def _phase(found: list[dict[str, Any]]) -> str:
    ended = [one["state"]["terminated"]["exitCode"] for one in found if "terminated" in one["state"]]
    if len(ended) == len(found):
        return "Failed" if any(ended) else "Succeeded"
    return "Running" if any("running" in one["state"] or one["restartCount"] for one in found) else "Pending"
