"""A real registry for tests: Debian's docker-registry, fetched once and not installed."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from support.servers import Server, Unavailable, accepts, free_port, libraries, unpacked

PACKAGE = "docker-registry"
LINE = re.compile(r'"(?P<method>[A-Z]+) (?P<target>\S+) HTTP/[\d.]+" (?P<status>\d{3}) (?P<sent>\d+)')
UPLOAD = re.compile(r"/v2/(?P<repository>.+)/blobs/uploads/")
MANIFEST = re.compile(r"/v2/(?P<repository>.+)/manifests/(?P<reference>[^/]+)$")


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the access log. sent: bytes of the response's body."""

    method: str
    target: str
    status: int
    sent: int

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def mounted(self) -> str | None:
        """The digest that this request mounted from another repository."""
        return self.query.get("mount") if self.method == "POST" and self.status == 201 else None

    @property
    def stored(self) -> str | None:
        """The digest of the blob that this request brought to its end."""
        upload = self.method in ("PUT", "POST") and self.status == 201 and UPLOAD.match(self.path)
        return self.query.get("digest") if upload else None


class RealRegistry(Server):
    """One process with its storage below `folder`. config: more keys of its configuration file."""

    scheme = "http"

    def __init__(self, folder: Path, **config: Any) -> None:
        root = unpacked(PACKAGE)
        self.port = free_port()
        self.storage = folder / "storage"
        file = folder / "config.yml"
        file.write_text(json.dumps(self._config(config)))  # JSON is YAML
        command = [str(root / "usr/bin/docker-registry"), "serve", str(file)]
        super().__init__(command, lambda: accepts(self.port), folder=folder, env=libraries(root))

    def _config(self, more: dict[str, Any]) -> dict[str, Any]:
        http = {"addr": f"127.0.0.1:{self.port}", "secret": "of-the-tests", **more.pop("http", {})}
        return {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}, "delete": {"enabled": True}},
            "http": http,
            **more,
        }

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    def repository(self, name: str) -> str:
        """A reference without a tag: `127.0.0.1:PORT/name`."""
        return f"{self.host}/{name}"

    # What it was asked for; a change is in the log before its response is on the way

    def log(self) -> str:
        """Everything it wrote so far."""
        return (self.folder / "log").read_text(errors="replace")

    def mark(self) -> int:
        """A place in the log, for `requests(since=mark)`."""
        return (self.folder / "log").stat().st_size

    def requests(self, since: int = 0) -> list[Request]:
        with open(self.folder / "log", "rb") as log:
            log.seek(since)
            text = log.read().decode(errors="replace")
        return [
            Request(found["method"], found["target"], int(found["status"]), int(found["sent"]))
            for found in map(LINE.search, text.splitlines())
            if found is not None
        ]

    def received(self, since: int = 0) -> dict[str, int]:
        """digest -> bytes of every blob and manifest that was stored by an upload (what was mounted is not)."""
        blobs = [digest for request in self.requests(since) if (digest := request.stored)]
        return {digest: self.size_of(digest) for digest in [*blobs, *self._manifests(since)]}

    def _manifests(self, since: int) -> Iterator[str]:
        for request in self.requests(since):
            found = MANIFEST.match(request.path)
            if request.method == "PUT" and request.status == 201 and found is not None:
                reference = found["reference"]
                yield reference if reference.startswith("sha256:") else self.tagged(found["repository"], reference)

    # What it has on its disk

    def tagged(self, repository: str, tag: str) -> str:
        """The digest that the tag names now."""
        folder = self._repositories / repository / "_manifests/tags" / tag
        return (folder / "current/link").read_text().strip()

    def tags(self, repository: str) -> list[str]:
        """The tags that can be pulled."""
        return sorted(
            found.parent.parent.name
            for found in (self._repositories / repository).glob("_manifests/tags/*/current/link")
        )

    def size_of(self, digest: str) -> int:
        return self.blob(digest).stat().st_size

    def blob(self, digest: str) -> Path:
        """The file of a blob or manifest."""
        algorithm, value = digest.split(":")
        return self.storage / "docker/registry/v2/blobs" / algorithm / value[:2] / value / "data"

    @property
    def _repositories(self) -> Path:
        return self.storage / "docker/registry/v2/repositories"

    def get(self, path: str, **headers: str) -> bytes:
        """GET over a client that is not ours."""
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
            return bytes(response.read())


def started(factory: pytest.TempPathFactory, kind: type[RealRegistry], name: str) -> Iterator[RealRegistry]:
    try:
        server = kind(factory.mktemp(name))
    except Unavailable as error:
        pytest.skip(str(error))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """A plain registry that all tests share: take a repository name of your own; one that stops it brings it back."""
    yield from started(tmp_path_factory, RealRegistry, "registry")
