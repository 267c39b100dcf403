"""A small registry in this process that can be told to fail: any request by any fault, so many times."""

from __future__ import annotations

import hashlib
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

from upon_build.image.oci import MANIFEST, digest_of

Fault: TypeAlias = "Callable[[Handler], None]"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came. size: bytes of its body that were announced."""

    method: str
    target: str
    headers: Mapping[str, str]
    size: int


@dataclass(slots=True)
class _Planned:
    method: str
    path: re.Pattern[str]
    fault: Fault
    left: int
    skip: int


class FaultyRegistry:
    """Blobs, manifests and uploads in memory; whatever is in them can be changed by a test.

    wants: the header Authorization without which `challenge` is the answer.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.seen: list[Seen] = []
        self.stopped = threading.Event()
        self.wants = ""
        self.challenge = 'Basic realm="the tests"'
        self._planned: list[_Planned] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def fail(self, method: str, path: str, fault: Fault, *, times: int = 1, after: int = 0) -> None:
        """The next requests of this method whose target has this pattern fail, after so many that do not."""
        self._planned.append(_Planned(method, re.compile(path), fault, times, after))

    def fault_for(self, method: str, target: str) -> Fault | None:
        with self._lock:
            for planned in self._planned:
                if planned.method == method and planned.left and planned.path.search(target):
                    if planned.skip:
                        planned.skip -= 1
                        continue
                    planned.left -= 1
                    return planned.fault
        return None

    def add(self, content: bytes) -> str:
        self.blobs[digest_of(content)] = content
        return digest_of(content)

    def asked(self, method: str, path: str = "") -> list[Seen]:
        return [seen for seen in self.seen if seen.method == method and re.search(path, seen.target)]


@contextmanager
def faulty() -> Iterator[FaultyRegistry]:
    registry = FaultyRegistry()
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()


# Faults


def answers(status: int, content: bytes = b"", **headers: str) -> Fault:
    """This response in place of the right one; `retry_after="1"` is a header."""

    def fault(handler: Handler) -> None:
        handler.drain()
        handler.reply(status, content, **headers)

    return fault


def cut(handler: Handler) -> None:
    """The connection ends before the request's body is read."""
    handler.close_connection = True


def cut_upload(count: int) -> Fault:
    """Takes so many bytes of a PATCH, then the connection ends."""

    def fault(handler: Handler) -> None:
        handler.registry.uploads[handler.last].extend(handler.rfile.read(count))
        handler.close_connection = True

    return fault


def cut_download(count: int) -> Fault:
    """Sends so many bytes of what was asked for, then the connection ends."""

    def fault(handler: Handler) -> None:
        handler.most = count
        handler.work()
        handler.close_connection = True

    return fault


def lies(content: bytes) -> Fault:
    """Sends other bytes for a blob or manifest."""
    return lambda handler: handler.reply(200, content, content_type=MANIFEST)


def drips(handler: Handler) -> None:
    """A head that never ends."""
    _drip(handler, b"HTTP/1.1 200 OK\r\nX-Slow: ")


def trickles(handler: Handler) -> None:
    """A body that never ends."""
    _drip(handler, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")


def _drip(handler: Handler, begin: bytes) -> None:
    """A byte every 20 ms after this."""
    handler.wfile.write(begin)
    try:
        while not handler.registry.stopped.wait(0.02):
            handler.wfile.write(b"x")
    except OSError:
        pass
    handler.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away


class Handler(BaseHTTPRequestHandler):
    """The protocol as it should be. most: bytes of the body that are sent; silent: no answer is sent at all."""

    registry: FaultyRegistry
    protocol_version = "HTTP/1.1"
    most: int | None = None
    silent = False

    @property
    def route(self) -> str:
        return urlsplit(self.path).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    @property
    def last(self) -> str:
        return self.route.rpartition("/")[2]

    def handle_any(self) -> None:
        self.most = None
        size = int(self.headers.get("Content-Length", "0"))
        self.registry.seen.append(
            Seen(self.command, self.path, {name.title(): value for name, value in self.headers.items()}, size)
        )
        wants = self.registry.wants
        if wants and self.path.startswith("/v2/") and self.headers.get("Authorization") != wants:
            self.drain()
            self.reply(401, www_authenticate=self.registry.challenge)
            return
        fault = self.registry.fault_for(self.command, self.path)
        if fault is None:
            self.work()
        else:
            fault(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = handle_any

    def work(self) -> None:
        if self.route == "/v2/":
            self.reply(200, b"{}")
        elif "/blobs/uploads/" in self.route:
            self._upload()
        elif "/blobs/" in self.route:
            self._blob(self.registry.blobs.get(self.last))
        elif "/manifests/" in self.route:
            self._manifest()
        else:
            self.reply(404)

    def _blob(self, content: bytes | None) -> None:
        if content is None:
            self.reply(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked is None:
            self.reply(200, content)
            return
        start = int(asked[1])
        said = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.reply(206, content[start:], content_range=said)

    def _manifest(self) -> None:
        if self.command == "PUT":
            content = self.drain()
            kept = (self.headers["Content-Type"], content)
            self.registry.manifests[self.last] = self.registry.manifests[digest_of(content)] = kept
            self.reply(201, docker_content_digest=digest_of(content))
        elif self.last in self.registry.manifests:
            media_type, content = self.registry.manifests[self.last]
            self.reply(200, content, content_type=media_type)
        else:
            self.reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')

    def _upload(self) -> None:
        uploads = self.registry.uploads
        if self.command == "POST":
            if self.query.get("mount") in self.registry.blobs:
                self.reply(201)
                return
            name = uuid.uuid4().hex
            uploads[name] = bytearray()
            self.reply(202, location=f"{self.route}{name}")
        elif self.last not in uploads:
            self.drain()
            self.reply(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"upload unknown"}]}')
        elif self.command == "GET":
            self.reply(204, range=self._range(), location=self.path)
        elif self.command == "DELETE":
            del uploads[self.last]
            self.reply(204)
        else:
            self._take(uploads[self.last])

    def _take(self, upload: bytearray) -> None:
        content = self.drain()
        start = self.headers.get("Content-Range", "").partition("-")[0]
        if start and int(start) != len(upload):
            self.reply(416, range=self._range())
            return
        upload += content
        if self.command == "PATCH":
            self.reply(202, range=self._range(), location=self.path)
            return
        found = f"sha256:{hashlib.sha256(upload).hexdigest()}"
        if found != self.query["digest"]:
            self.reply(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"digest does not match"}]}')
            return
        self.registry.blobs[found] = bytes(upload)
        del self.registry.uploads[self.last]
        self.reply(201, docker_content_digest=found)

    def _range(self) -> str:
        return f"0-{max(0, len(self.registry.uploads[self.last]) - 1)}"

    def drain(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def reply(self, status: int, content: bytes = b"", **headers: str) -> None:
        if self.silent:
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: self.most])

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def _handler_of(found: FaultyRegistry) -> type[Handler]:
    class Bound(Handler):
        registry = found

    return Bound
