"""A node whose pods are processes: what a kubelet does, as far as the tests need it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.cluster.images import Images
from support.cluster.kubelet import Kubelet
from support.cluster.lending import Lending
from support.cluster.network import Network
from support.cluster.pod import Pod, now
from support.cluster.relay import Relay
from support.cluster.rest import ApiFault, Rest
from support.cluster.services import Services

NAME = "node-0"
CAPACITY = {"cpu": "64", "memory": "256Gi", "pods": "200", "ephemeral-storage": "100Gi"}
HEARTBEAT = 10.0  # seconds
AGAIN = 0.3  # seconds until a watch that ended begins anew


class Node:
    """api: where pods reach the API server."""

    def __init__(
        self,
        rest: Rest,
        images: Images,
        folder: Path,
        *,
        network: Network,
        api: tuple[str, int],
        certificate: tuple[Path, Path],
        log: Callable[[str], None],
    ) -> None:
        self.rest = rest
        self.images = images
        self.folder = folder
        self.network = network
        self.api = api
        self.log = log
        self.pods: dict[str, Pod] = {}
        self.hosts = folder / "hosts"
        self.resolv = folder / "resolv.conf"
        self._addresses = network.pods[::-1]
        self._lock = threading.Lock()
        self.over = threading.Event()
        self._relay = Relay()
        self.lending = Lending(self._relay, log)
        self._services = Services(network.gateway, self._relay, log)
        (folder / "logs").mkdir(parents=True)
        self.hosts.write_text(f"127.0.0.1 localhost\n{network.gateway} host.internal\n")
        self.resolv.write_text(
            f"nameserver {network.gateway}\nsearch svc.cluster.local cluster.local\noptions ndots:5\n"
        )
        self._kubelet = Kubelet(self, certificate)

    def start(self) -> None:
        """Register it, and run what is bound to it."""
        self._relay.start()
        self._services.start()
        self._kubelet.start()
        labels = {"kubernetes.io/hostname": NAME, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        self.rest.post(
            "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME, "labels": labels}}
        )
        self.rest.patch(f"/api/v1/nodes/{NAME}/status", {"status": self._status(CAPACITY)})
        feeds: tuple[tuple[str, str, Callable[[str, Any], None]], ...] = (
            ("/apis/discovery.k8s.io/v1/endpointslices", "", lambda e, o: self._services.changed("slices", e, o)),
            ("/api/v1/services", "", lambda e, o: self._services.changed("services", e, o)),
            ("/api/v1/pods", f"spec.nodeName={NAME}", self._pods_changed),
        )
        for path, selector, take in feeds:
            threading.Thread(target=self._follow, args=(path, selector, take), daemon=True).start()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def stop(self) -> None:
        self.over.set()
        for pod in list(self.pods.values()):
            pod.destroy()

    def take_address(self) -> str:
        with self._lock:
            return self._addresses.pop()

    def give_address(self, address: str) -> None:
        """The longest unused comes next: Envoy and the activator remember pods by their address."""
        with self._lock:
            self._addresses.insert(0, address)

    def find(self, namespace: str, name: str) -> Pod | None:
        return next((pod for pod in self.pods.values() if (pod.namespace, pod.name) == (namespace, name)), None)

    def kill(self, namespace: str, name: str, container: str) -> None:
        """SIGKILL to a container, or with "" to all of the pod's. Raises LookupError."""
        pod = self.find(namespace, name)
        if pod is None:
            raise LookupError(f"no pod {namespace}/{name} here")
        for one in pod.containers:
            if one.process is not None and container in ("", one.name):
                one.process.kill()

    def set_capacity(self, resource: str, count: int) -> None:
        """None of it where the count is 0."""
        said = {resource: str(count) if count else None}
        self.rest.patch(f"/api/v1/nodes/{NAME}/status", {"status": {"capacity": said, "allocatable": said}})

    def _status(self, capacity: dict[str, str]) -> dict[str, Any]:
        told = ("architecture", "bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion")
        told += ("kubeletVersion", "machineID", "operatingSystem", "osImage", "systemUUID")
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ok"}
        return {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [
                {"type": "InternalIP", "address": self.network.gateway},
                {"type": "Hostname", "address": NAME},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._kubelet.port}},
            "nodeInfo": dict.fromkeys(told, "tests"),
            "conditions": [{**ready, "lastHeartbeatTime": now(), "lastTransitionTime": now()}],
        }

    def _beat(self) -> None:
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        while not self.over.is_set():
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
            spec = {"holderIdentity": NAME, "leaseDurationSeconds": 40, "renewTime": stamp}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME}, "spec": spec}
            try:
                if self.rest.find(f"{path}/{NAME}") is None:
                    self.rest.post(path, lease)
                else:
                    self.rest.patch(f"{path}/{NAME}", {"spec": spec})
            except (ApiFault, OSError) as error:
                self.log(f"heartbeat: {error}")
            self.over.wait(HEARTBEAT)

    def _follow(self, path: str, selector: str, take: Callable[[str, Any], None]) -> None:
        while not self.over.is_set():
            try:
                for event, thing in self._events(path, selector):
                    take(event, thing)
            except (ApiFault, OSError, ValueError) as error:
                self.log(f"watch of {path}: {error!r}")
            self.over.wait(AGAIN)

    def _events(self, path: str, selector: str) -> Iterator[tuple[str, Any]]:
        for event in self.rest.watch(path, selector):
            if self.over.is_set():
                return
            yield event

    def _pods_changed(self, event: str, thing: Any) -> None:
        if event != "SYNC":
            self._pod_changed(event, thing)
            return
        live = {one["metadata"]["uid"] for one in thing}
        for uid, pod in list(self.pods.items()):
            if uid not in live:
                pod.end(forced=True)
        for one in thing:
            self._pod_changed("ADDED", one)

    def _pod_changed(self, event: str, thing: dict[str, Any]) -> None:
        uid = thing["metadata"]["uid"]
        pod = self.pods.get(uid)
        if event == "DELETED":
            if pod is not None:
                pod.end(forced=True)
            return
        leaving = bool(thing["metadata"].get("deletionTimestamp"))
        if pod is None:
            if thing.get("status", {}).get("phase") in ("Succeeded", "Failed") and not leaving:
                return
            pod = self.pods[uid] = Pod(self, thing)
            pod.start()
        pod.thing = thing
        if leaving:
            pod.end()
