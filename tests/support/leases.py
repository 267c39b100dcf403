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
    """leases: by name. token: the only one that is let in. fault: a status, "cut" or "hang", of every answer."""

    def __init__(self, folder: Path, port: int) -> None:
        self.leases: dict[str, dict[str, Any]] = {}
        self.token = "first"
        self.fault: int | str | None = None
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
        """As the real one does: PUT makes a Lease that is not there, unless its uid is named."""
        name = path.removeprefix(f"{PATH}/") if method != "POST" else lease["metadata"]["name"]
        there = self.leases.get(name)
        if method == "POST" and there is not None:
            return _status(409, f"leases {name!r} already exists")
        if method == "GET":
            return _status(404, f"leases {name!r} not found") if there is None else (200, there)
        wanted, found = lease["metadata"], {} if there is None else there["metadata"]
        if method == "PUT" and wanted.get("uid") and wanted["uid"] != found.get("uid"):
            return _status(409, "Precondition failed: UID in precondition")
        if there is not None and wanted["resourceVersion"] != found["resourceVersion"]:
            return _status(409, "the object has been modified")
        wanted |= {"uid": found.get("uid", f"uid-{name}"), "resourceVersion": str(next(self._versions))}
        self.leases[name] = lease
        return (201 if method == "POST" else 200), lease


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
        elif self.headers["Authorization"] != f"Bearer {double.token}":
            status, found = _status(401, "Unauthorized")
        else:
            status, found = double.answer(self.command, self.path, lease)
        content = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_GET

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
