"""Passwords and tokens on the way to a registry or an index are in nothing that a build writes."""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from support.builds import Builder, copied, make_wheel
from support.readers import Skopeo
from support.registry import RealRegistry
from support.registry_locked import PASSWORD, USER, docker_config

pytestmark = pytest.mark.timeout(300)  # the first test may be the one that fetches packages

BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
INDEX_PASSWORD = "index-s3cret-word"
INDEX_BASIC = base64.b64encode(f"{USER}:{INDEX_PASSWORD}".encode()).decode()
ENV_SECRET = "env-s3cret-value"
SECRETS = tuple(text.encode() for text in (PASSWORD, BASIC, INDEX_PASSWORD, INDEX_BASIC, ENV_SECRET))
TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}")  # what the token server gives


def leaks(content: bytes) -> list[bytes]:
    """What of our secrets is in there, and anything with the shape of a token."""
    return [secret for secret in SECRETS if secret in content] + TOKEN.findall(content)


class _Asking(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.headers.get("Authorization") == f"Basic {INDEX_BASIC}":
            return super().do_GET()
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="packages"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def private_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of an index with one package, behind USER and INDEX_PASSWORD."""
    root = tmp_path_factory.mktemp("index")
    wheel = make_wheel(root / "files", "upontestprivate", "1.0")
    page = root / "simple/upontestprivate/index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="../../files/{wheel.name}">{wheel.name}</a>')
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Asking, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


@dataclass(frozen=True)
class Closed:
    """A registry that wants to know who comes, a project with a package of a private index, and how to get in."""

    builder: Builder
    folder: Path
    env: dict[str, str]


@pytest.fixture(scope="module")
def closed(
    builder: Builder,
    registry_bearer: RealRegistry,
    private_index: str,
    small_project: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Closed:
    """With a cache of its own, in which nothing is from before the secrets."""
    root = tmp_path_factory.mktemp("closed")
    folder = copied(small_project, root / "project")
    (folder / "requirements.txt").write_text("upon[cpu,serve]\nupontestprivate\n")
    env = {
        "DOCKER_CONFIG": str(docker_config(root / "docker", registry_bearer.host, auth=BASIC)),
        "UV_INDEX": f"http://{USER}:{INDEX_PASSWORD}@{private_index}/simple",
        "SOME_TOKEN": ENV_SECRET,
    }
    return Closed(replace(builder, registry=registry_bearer, cache=root / "cache"), folder, env)


def test_a_build_that_goes_well(closed: Closed, registry_bearer: RealRegistry, skopeo: Skopeo) -> None:
    locked = closed.builder.run("lock", "--debug", cwd=closed.folder, **closed.env)
    assert 0 == locked.returncode, locked.stderr
    done = closed.builder.run(*closed.builder.arguments("ada/closed", "--debug"), cwd=closed.folder, **closed.env)
    assert 0 == done.returncode, done.stderr
    assert "latest" in registry_bearer.tags("ada/closed")
    for written in (locked.stdout, locked.stderr, done.stdout, done.stderr):
        assert [] == leaks(written.encode())
    assert [] == leaks((closed.folder / "func.lock").read_bytes())


def test_nothing_is_in_the_image_or_the_cache(closed: Closed, registry_bearer: RealRegistry) -> None:
    """Every blob that the registry has of it, unpacked where it is a layer, and every file that the build wrote."""
    mark = registry_bearer.mark()
    closed.builder.build(closed.folder, "ada/looked-into", **closed.env)
    received = registry_bearer.received(since=mark)
    assert len(received) > 3
    for digest in received:
        assert [] == leaks(plain(registry_bearer.blob(digest).read_bytes())), digest
    for path in (path for root in (closed.folder, closed.builder.cache) for path in root.rglob("*")):
        if path.is_file():
            assert [] == leaks(plain(path.read_bytes())), path


def plain(content: bytes) -> bytes:
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def test_a_registry_that_does_not_know_us(closed: Closed, registry_bearer: RealRegistry, tmp_path: Path) -> None:
    wrong = base64.b64encode(f"{USER}:{ENV_SECRET}".encode()).decode()
    config = docker_config(tmp_path / "wrong", registry_bearer.host, auth=wrong)
    env = {**closed.env, "DOCKER_CONFIG": str(config), "FUNC_DEBUG": "1"}
    done = closed.builder.run(*closed.builder.arguments("ada/refused"), cwd=closed.folder, **env)
    assert 4 == done.returncode, done.stderr
    assert registry_bearer.host in done.stderr
    assert [] == leaks((done.stdout + done.stderr).encode())
    assert wrong not in done.stderr


def test_an_index_that_does_not_know_us(closed: Closed, private_index: str, tmp_path: Path) -> None:
    folder = copied(closed.folder, tmp_path / "project")
    (folder / "func.lock").unlink()
    env = {**closed.env, "UV_INDEX": f"http://{USER}:{ENV_SECRET}@{private_index}/simple", "FUNC_DEBUG": "1"}
    done = closed.builder.run(*closed.builder.arguments("ada/refused"), cwd=folder, **env)
    assert done.returncode in (2, 4), done.stderr
    assert [] == leaks((done.stdout + done.stderr).encode())


def test_passwords_over_tls(builder: Builder, registry_tls: RealRegistry, small_project: Path, tmp_path: Path) -> None:
    """The certificate has to be known first; the password goes over no line that is open."""
    closed = replace(builder, registry=registry_tls)
    config = docker_config(tmp_path / "docker", registry_tls.host, auth=BASIC)
    unknown = closed.run(*closed.arguments("ada/tls"), cwd=small_project, DOCKER_CONFIG=str(config))
    assert 0 != unknown.returncode
    assert "certificate" in unknown.stderr
    assert [] == leaks((unknown.stdout + unknown.stderr).encode())

    certificate = str(registry_tls.certificate)  # type: ignore[attr-defined]
    built = closed.build(small_project, "ada/tls", DOCKER_CONFIG=str(config), SSL_CERT_FILE=certificate)
    assert built.digest == registry_tls.tagged("ada/tls", "latest")
    assert [] == leaks((json.dumps(built.said) + built.stderr).encode())
