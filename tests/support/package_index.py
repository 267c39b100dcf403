"""A package index on loopback with made-up wheels: pages in HTML or JSON, and every fault that a network has."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import ssl
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from packaging.utils import canonicalize_name


def make_wheel(
    name: str, version: str, *, tag: str = "py3-none-any", requires: tuple[str, ...] = (), payload: bytes = b""
) -> tuple[str, bytes]:
    """(file name, content) of a wheel that holds one module."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
        *(f"Requires-Dist: {one}" for one in requires),
    ]
    files = {
        f"{module}.py": f"VERSION = {version!r}\n".encode() + payload,
        f"{info}/METADATA": ("\n".join(metadata) + "\n").encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    record = [f"{path},sha256={_b64(content)},{len(content)}" for path, content in files.items()]
    files[f"{info}/RECORD"] = ("\n".join([*record, f"{info}/RECORD,,"]) + "\n").encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content)
    return f"{module}-{version}-{tag}.whl", out.getvalue()


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


@dataclass
class PackageIndex:
    """What is served, and what was asked. style: how pages look; `bare` is HTML without hashes and sizes.

    user: `name:password` that every request needs. statuses: by path, the answers that come first. cut: by file, after
    how many bytes the connection breaks, each once. lies: by file, what is sent in its place. plain: no ranges.
    """

    style: Literal["json", "html", "bare"] = "json"
    files: dict[str, bytes] = field(default_factory=dict)
    yanked: set[str] = field(default_factory=set)
    user: str = ""
    statuses: dict[str, list[int]] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    lies: dict[str, bytes] = field(default_factory=dict)
    plain: bool = False
    asked: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    address: str = ""
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"http://{self.address}/simple"

    def add(
        self, name: str, version: str, *, tag: str = "py3-none-any", requires: tuple[str, ...] = (), **more: bytes
    ) -> str:
        """Serve one more made-up wheel; returns its file name."""
        file, content = make_wheel(name, version, tag=tag, requires=requires, **more)
        self.files[file] = content
        return file

    def sha256(self, file: str) -> str:
        return hashlib.sha256(self.files[file]).hexdigest()

    def environment(self, folder: Path) -> dict[str, str]:
        """Variables under which uv and Upon take packages from here alone; folder: for uv's cache."""
        return {
            "UV_DEFAULT_INDEX": self.url,
            "UV_CACHE_DIR": str(folder / "uv-cache"),
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_FIND_LINKS": "",
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
        }

    def page(self, package: str) -> tuple[str, bytes] | None:
        """(content type, content) of a package's page."""
        files = {
            file: content for file, content in self.files.items() if canonicalize_name(file.split("-")[0]) == package
        }
        if not files:
            return None
        if self.style == "json":
            return "application/vnd.pypi.simple.v1+json", self._json(package, files)
        return "text/html", "\n".join(map(self._anchor, files)).encode()

    def _json(self, package: str, files: dict[str, bytes]) -> bytes:
        entries = [
            {
                "filename": file,
                "url": f"../../files/{file}",
                "hashes": {"sha256": self.sha256(file)},
                "size": len(content),
                "yanked": file in self.yanked,
            }
            for file, content in files.items()
        ]
        return json.dumps({"meta": {"api-version": "1.1"}, "name": package, "files": entries}).encode()

    def _anchor(self, file: str) -> str:
        fragment = "" if self.style == "bare" else f"#sha256={self.sha256(file)}"
        yanked = ' data-yanked="bad"' if file in self.yanked else ""
        return f'<a href="../../files/{file}{fragment}"{yanked}>{file}</a><br/>'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    index: PackageIndex

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        index = self.index
        index.asked.append(self.path)
        wanted = "Basic " + base64.b64encode(index.user.encode()).decode()
        if index.user and self.headers.get("Authorization") != wanted:
            self._answer(401, "text/plain", b"who are you?", {"WWW-Authenticate": "Basic"})
        elif index.statuses.get(self.path):
            self._answer(index.statuses[self.path].pop(0), "text/plain", b"not now")
        elif self.path.startswith("/files/"):
            self._file(unquote(self.path.removeprefix("/files/")))
        else:
            page = index.page(self.path.removeprefix("/simple/").strip("/"))
            self._answer(*((200, *page) if page else (404, "text/plain", b"no such package")))

    def _file(self, name: str) -> None:
        content = self.index.lies.get(name) or self.index.files.get(name)
        if content is None:
            self._answer(404, "text/plain", b"no such file")
            return
        asked = self.headers.get("Range", "")
        if asked:
            self.index.ranges.append(asked)
        if asked.startswith("bytes=-") or not asked or self.index.plain:
            self._answer(200, "application/octet-stream", content, cut=self._cut(name))
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
        span = {"Content-Range": f"bytes {start}-{end}/{len(content)}"}
        self._answer(206, "application/octet-stream", content[start : end + 1], span, cut=self._cut(name))

    def _cut(self, name: str) -> int | None:
        waiting = self.index.cut.get(name)
        return waiting.pop(0) if waiting and self.command == "GET" else None

    def _answer(
        self, status: int, kind: str, content: bytes, headers: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def package_index(**about: object) -> Iterator[PackageIndex]:
    """A running index; about: the fields of PackageIndex."""
    index = PackageIndex(**about)  # type: ignore[arg-type]
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"index": index}))
    server.daemon_threads = True
    server.handle_error = lambda *about: None  # type: ignore[method-assign]  # a client that hangs up is a test's subject
    if index.tls is not None:
        server.socket = index.tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    index.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
