"""A double of the API server that knows Leases of one namespace, over TLS, and can be made to fail."""

from __future__ import annotations

import itertools
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from support.certificates import make_certificate
from upon_triggers.firing_lease import LeaseFirings

NAMESPACE = "ml"
PATH = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"


class LeaseServer:
    """leases: by name. token: the only one that is let in. forbidden: a method that it has no right to.

    fault: a status, "cut" or "hang", of every answer.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.leases: dict[str, dict[str, Any]] = {}
        self.token = "first"
        self.fault: int | str | None = None
        self.forbidden = ""
        self.over = threading.Event()  # until then it hangs
        self.folder = folder
        self.env = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)}
        self._versions = itertools.count(100)
        (folder / "namespace").write_text(NAMESPACE)
        self.rotate("first")

    def rotate(self, token: str) -> None:
        """Another token, as the kubelet writes it into the pod."""
        self.token = token
        (self.folder / "token").write_text(f"{token}\n")

    def store(self, **more: Any) -> LeaseFirings:
        return LeaseFirings({"app.kubernetes.io/name": "demo"}, folder=self.folder, env=self.env, **more)

    def answer(self, method: str, path: str, lease: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """As the real one does."""
        if method == "POST":
            name = lease["metadata"]["name"]
            if name in self.leases:
                return _status(409, f"leases {name!r} already exists")
            return 201, self.keep(lease)
        there = self.leases.get(path.removeprefix(f"{PATH}/"))
        if there is None:
            return _status(404, f"leases {path!r} not found")
        if method == "GET":
            return 200, there
        if lease["metadata"]["resourceVersion"] != there["metadata"]["resourceVersion"]:
            return _status(409, "the object has been modified")
        return 200, self.keep(_merged(there, lease))

    def keep(self, lease: dict[str, Any]) -> dict[str, Any]:
        """The Lease with the next version."""
        lease["metadata"]["resourceVersion"] = str(next(self._versions))
        self.leases[lease["metadata"]["name"]] = lease
        return lease


def _merged(there: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    found = dict(there)
    for key, value in patch.items():
        inner = found.get(key)
        found[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return found


def _status(code: int, message: str, kind: str = "leases") -> tuple[int, dict[str, Any]]:
    return code, {"kind": "Status", "message": message, "details": {"kind": kind}}


class _Handler(BaseHTTPRequestHandler):
    double: ClassVar[LeaseServer]

    def do_GET(self) -> None:
        double = self.double
        fault = double.fault
        length = int(self.headers.get("Content-Length") or 0)
        lease = json.loads(self.rfile.read(length)) if length else {}
        if fault == "hang":
            double.over.wait(10.0)
        if fault in ("cut", "hang"):
            self.close_connection = True
            return
        if isinstance(fault, int):
            status, found = _status(fault, "as the test wants it", "namespaces")
        elif self.command == double.forbidden:
            status, found = _status(403, "leases is forbidden")
        elif self.headers["Authorization"] != f"Bearer {double.token}":
            status, found = _status(401, "Unauthorized")
        else:
            status, found = double.answer(self.command, self.path.partition("?")[0], lease)
        content = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PATCH = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def lease_server(folder: Path) -> Iterator[LeaseServer]:
    """On this machine, until the end of the block; the service account's files are in `folder`."""
    certificate, key = make_certificate(folder)
    (folder / "ca.crt").write_bytes(certificate.read_bytes())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    double = handler.double = LeaseServer(folder, server.server_port)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield double
    finally:
        double.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
