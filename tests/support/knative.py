"""A real Kubernetes API server with real Knative Serving for tests, whose pods are processes of this machine.

    def test_something(cluster, registry):                 # `cluster` is the fixture: one for the whole session
        with cluster.namespace() as namespace:             # a fresh one, deleted at the end
            func("deploy", …, env=cluster.env)             # an administrator's KUBECONFIG
            cluster.until(lambda: cluster.service(namespace, "demo"), "the service")
            cluster.post(f"demo.{namespace}.{cluster.domain}", b"{}", path="/score")   # through the ingress

Images come from registries on 127.0.0.1 (the fixture `registry`), by digest: Knative can't resolve tags there. They are
unpacked and started as a container runtime would: their user, a read-only root, a network and volumes of their own.

127.0.0.1 is the pod's own, but `cluster.lend(port)` makes a port of this machine's 127.0.0.1 the same in every pod, as
a Kafka broker needs it that tells its clients an address to come back to: `cluster.lend(kafka.port)`, then
`kafka.bootstrap` is right for pods too. Servers that listen everywhere are at `cluster.host`.

A service without requests goes to zero within 12 to 15 s, and its pod is gone 30 s later (queue-proxy drains; it would
still answer). Grace periods are kept in full; the end of a namespace kills its pods. Several clusters can be up at
once. The first use builds everything of its sources (ten minutes on two cores), cached below ~/.cache/upon; root and
Go are needed.

For development, one cluster for many runs: `python -m support.knative FOLDER` from tests/ keeps it up, and
UPON_TEST_CLUSTER=FOLDER lets tests use it.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from support.cluster import control
from support.cluster.binaries import binaries
from support.cluster.knative import DOMAIN
from support.cluster.rest import ApiFault, Rest
from support.servers import Unavailable

TESTS = Path(__file__).resolve().parents[1]
START_TIMEOUT, STOP_TIMEOUT = 240.0, 30.0
READY = "ready.json"
NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
SETUP = 'mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && exec "$@"'


class Cluster:
    """folder: of its files; kubeconfig: an administrator's. rest: the API server, as that one; host: this machine."""

    domain = DOMAIN

    def __init__(self, folder: Path, ready: Mapping[str, Any]) -> None:
        self.folder = folder
        self.port = int(ready["port"])
        self.host = str(ready["host"])
        self.start_seconds = float(ready["seconds"])
        self.kubeconfig = folder / "kubeconfig"
        token = json.loads(self.kubeconfig.read_text())["users"][0]["user"]["token"]
        self.rest = Rest(self.port, folder / "pki/ca.crt", token)

    @property
    def env(self) -> dict[str, str]:
        """For commands that are to use it."""
        return {"KUBECONFIG": str(self.kubeconfig)}

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    # Namespaces and identities

    @contextmanager
    def namespace(self, prefix: str = "test") -> Iterator[str]:
        """A fresh one with its service account; everything in it is deleted at the end."""
        name = f"{prefix}-{uuid.uuid4().hex[:8]}"
        self.rest.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        self.until(lambda: self.rest.find(account), f"the service account of {name}")
        try:
            yield name
        finally:
            self._end(name)

    def _end(self, namespace: str) -> None:
        """Nothing new can be made in what is being deleted, so that its pods can be killed for good."""
        with suppress(ApiFault, OSError):
            self.rest.delete(f"/api/v1/namespaces/{namespace}")
            self.rest.delete(f"/api/v1/namespaces/{namespace}/pods", gracePeriodSeconds=0)

    def account(self, namespace: str, name: str, rules: list[dict[str, Any]], folder: Path) -> Path:
        """A kubeconfig of a service account that has these rights in its namespace and no others."""
        core, rbac = f"/api/v1/namespaces/{namespace}", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        self.rest.post(f"{core}/serviceaccounts", _thing("v1", "ServiceAccount", name))
        version = "rbac.authorization.k8s.io/v1"
        self.rest.post(f"{rbac}/roles", {**_thing(version, "Role", name), "rules": rules})
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        bound = {**_thing(version, "RoleBinding", name), "roleRef": role, "subjects": [subject]}
        self.rest.post(f"{rbac}/rolebindings", bound)
        asked = {**_thing("authentication.k8s.io/v1", "TokenRequest", name), "spec": {"expirationSeconds": 3600}}
        made = self.rest.post(f"{core}/serviceaccounts/{name}/token", asked)
        config = json.loads(self.kubeconfig.read_text())
        config["users"][0]["user"]["token"] = made["status"]["token"]
        config["contexts"][0]["context"]["namespace"] = namespace
        path = folder / f"{name}.kubeconfig"
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path

    # What is there

    def service(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The Knative Service."""
        return self.rest.find(f"/apis/serving.knative.dev/v1/namespaces/{namespace}/services/{name}")

    def pods(self, namespace: str) -> list[dict[str, Any]]:
        found = self.rest.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
        return list(found)

    def until(self, check: Callable[[], Any], what: str, timeout: float = 60.0) -> Any:
        """The first true value of the check."""
        deadline = time.monotonic() + timeout
        while True:
            found = check()
            if found:
                return found
            assert time.monotonic() < deadline, f"{what}: not within {timeout:g} s"
            time.sleep(0.05)

    # The ingress

    @cached_property
    def ingress(self) -> str:
        """Address of the gateway for public services, `IP:80`."""
        return self._gateway("kourier")

    @cached_property
    def private_ingress(self) -> str:
        """Address of the gateway for services of the cluster alone."""
        return self._gateway("kourier-internal")

    def _gateway(self, name: str) -> str:
        found = self.rest.get(f"/api/v1/namespaces/kourier-system/services/{name}")
        return f"{found['spec']['clusterIP']}:80"

    def post(
        self,
        host: str,
        content: bytes = b"",
        *,
        path: str = "/",
        method: str = "POST",
        timeout: float = 60.0,
        **headers: str,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body of a request to this host of the cluster, wherever it is visible."""
        gateway = self.private_ingress if host.endswith(".svc.cluster.local") else self.ingress
        connection = http.client.HTTPConnection(gateway, timeout=timeout)
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, content, {"Host": host, **given})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    # The machine

    def lend(self, port: int) -> None:
        """127.0.0.1:port of this machine becomes 127.0.0.1:port of every pod."""
        control.tell(self.folder, "lend", str(port))

    def set_capacity(self, resource: str, count: int) -> None:
        """What the node has of a resource such as nvidia.com/gpu; 0 takes it away."""
        control.tell(self.folder, "capacity", resource, str(count))

    # Trouble

    def stop_api_server(self) -> None:
        """SIGTERM; what runs in the cluster goes on without it."""
        control.tell(self.folder, "stop-api-server")

    def start_api_server(self) -> None:
        """Returns once it is ready."""
        control.tell(self.folder, "start-api-server")

    def restart_api_server(self) -> None:
        self.stop_api_server()
        self.start_api_server()

    def kill_pod(self, namespace: str, name: str, container: str = "") -> None:
        """SIGKILL to one or all of its containers; the pod stays, and starts them again."""
        control.tell(self.folder, "kill", namespace, name, container)


@contextmanager
def running(folder: Path, *, fast_scale: bool = True) -> Iterator[Cluster]:
    """A cluster with its files in `folder`, which is empty. Raises Unavailable."""
    _check()
    binaries()
    process = _spawn(folder, *([] if fast_scale else ["--slow-scale"]))
    try:
        yield Cluster(folder, _ready(process, folder))
    finally:
        _stop(process)


def _spawn(folder: Path, *more: str) -> subprocess.Popen[str]:
    inside = [sys.executable, "-m", "support.cluster", str(folder), *more]
    with open(folder / "errors", "wb") as errors:
        return subprocess.Popen(
            ["unshare", *NAMESPACES, "sh", "-c", SETUP, "sh", *inside],
            cwd=TESTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )


def _ready(process: subprocess.Popen[str], folder: Path) -> dict[str, Any]:
    """What it says of itself once everything is up; also left in the folder."""
    assert process.stdout is not None
    watchdog = threading.Timer(START_TIMEOUT, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    watchdog.cancel()
    if not line:
        said = (folder / "errors").read_text(errors="replace")[-3000:]
        raise RuntimeError(f"the cluster did not come up:\n{said}")
    (folder / READY).write_text(line)
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def _stop(process: subprocess.Popen[str]) -> None:
    """It ends with its stdin; by force, everything in its namespaces ends with it."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _check() -> None:
    if os.geteuid() != 0:
        raise Unavailable("a cluster of processes needs root: sudo make test")
    for program, package in (("ip", "iproute2"), ("unshare", "util-linux"), ("openssl", "openssl")):
        if shutil.which(program) is None:
            raise Unavailable(f"no {program} here: apt-get install -y {package}")
    tried = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, text=True, timeout=30)
    if tried.returncode:
        raise Unavailable(f"namespaces are closed here ({tried.stderr.strip()}): run in a machine of your own")


def _thing(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests: take a namespace of your own."""
    shared = os.environ.get("UPON_TEST_CLUSTER")
    if shared:
        yield Cluster(Path(shared), json.loads((Path(shared) / READY).read_text()))
        return
    try:
        with running(tmp_path_factory.mktemp("cluster")) as found:
            yield found
    except Unavailable as error:
        pytest.skip(str(error))


def _keep_up(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with running(folder) as found:
        print(f"UPON_TEST_CLUSTER={folder} KUBECONFIG={found.kubeconfig}; ends with its standard input", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _keep_up(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()))
