"""The node's own HTTPS endpoint: containers' logs, as the API server asks for them on behalf of `kubectl logs`."""

from __future__ import annotations

import ssl
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from support.cluster.process import stamp

if TYPE_CHECKING:
    from support.cluster.node import Node

FOLLOW_TIMEOUT = 600.0
PAUSE = 0.05


class Kubelet:
    """certificate: files of the certificate and its key."""

    def __init__(self, node: Node, certificate: tuple[Path, Path]) -> None:
        handler = type("Handler", (_Handler,), {"node": node})
        self._server = ThreadingHTTPServer((node.network.gateway, 0), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificate)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, name="kubelet", daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    node: ClassVar[Node]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """/containerLogs/NAMESPACE/POD/CONTAINER"""
        asked = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        parts = asked.path.strip("/").split("/")
        pod = self.node.find(parts[1], parts[2]) if len(parts) == 4 and parts[0] == "containerLogs" else None
        if pod is None:
            self.send_error(404, "no such pod here")
            return
        path = pod.log_of(parts[3], previous=query.get("previous") == "true")
        if query.get("previous") == "true" and not path.exists():
            self.send_error(400, f'previous terminated container "{parts[3]}" not found')
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._left = int(query.get("limitBytes", sys.maxsize))
        try:
            self._lines(path, query, lambda: pod.uid in self.node.pods)
            self._chunk(b"")
        except OSError:
            self.close_connection = True

    def _lines(self, path: Path, query: dict[str, str], there: Callable[[], bool]) -> None:
        """What is there, then what comes: until the pod is gone, or the one who asked."""
        follow, keep = query.get("follow") == "true", query.get("timestamps") == "true"
        deadline = time.monotonic() + FOLLOW_TIMEOUT
        content = path.read_bytes() if path.exists() else b""
        content = content[: content.rfind(b"\n") + 1]
        at = len(content)
        for line in _wanted(content.splitlines(keepends=True), query):
            self._line(line, keep)
        while follow and time.monotonic() < deadline:
            alive = there()  # before the look: what it wrote last is not missed
            more = path.read_bytes()[at:] if path.exists() else b""
            whole = more[: more.rfind(b"\n") + 1]
            at += len(whole)
            for line in whole.splitlines(keepends=True):
                self._line(line, keep)
            if not whole and not alive:
                return
            time.sleep(PAUSE)

    def _line(self, line: bytes, keep: bool) -> None:
        self._chunk(line if keep else line.partition(b" ")[2])

    def _chunk(self, content: bytes) -> None:
        """An empty one is the end."""
        if content:
            content = content[: self._left]
            self._left -= len(content)
            if not content:
                return
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _wanted(lines: list[bytes], query: dict[str, str]) -> list[bytes]:
    since = query.get("sinceTime", "").replace("Z", ".000000000Z") if "sinceTime" in query else ""
    if "sinceSeconds" in query:
        since = stamp(time.time() - float(query["sinceSeconds"]))
    found = [line for line in lines if line.partition(b" ")[0].decode() >= since]
    count = int(query.get("tailLines", len(found)))
    return found[len(found) - count :] if count < len(found) else found
