"""No password and no token gets to where it does not belong: another host, a message, a log, a repr."""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.artifacts import image_of
from support.faulty_registry import FaultyRegistry, Handler, answers, faulty
from support.registry_locked import docker_config
from upon_build.image.oci import Descriptor
from upon_build.image.store import Store
from upon_build.registry.client import Repository
from upon_build.registry.connection import Connections
from upon_build.registry.errors import RegistryError, RegistryUnavailable
from upon_build.registry.limits import Limits
from upon_build.registry.push import push_image
from upon_build.registry.reference import parse_reference
from upon_build.registry.retry import Policy

USER, PASSWORD = "ada", "hunter2-s3cret"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
TOKEN = "t0ken-of-the-s3cret-kind"
BODY = b"a layer"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    """A registry that wants a password."""
    with faulty() as registry:
        registry.wants = f"Basic {BASIC}"
        yield registry


@pytest.fixture
def elsewhere() -> Iterator[FaultyRegistry]:
    with faulty() as registry:
        yield registry


@pytest.fixture
def repository(server: FaultyRegistry, tmp_path: Path) -> Iterator[Repository]:
    env = {"DOCKER_CONFIG": str(docker_config(tmp_path / "docker", server.host, auth=BASIC))}
    policy = Policy(attempts=2, pause=lambda seconds, stop: None)
    with Repository(parse_reference(f"{server.host}/acme/app:v1"), env=env, policy=policy) as found:
        yield found


def test_the_registry_itself_gets_the_login(server: FaultyRegistry, repository: Repository, store: Store) -> None:
    push_image(image_of(store, BODY), store, repository, "v1")
    assert {None, f"Basic {BASIC}"} == {seen.headers.get("Authorization") for seen in server.seen}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_takes_no_login_along(
    server: FaultyRegistry, elsewhere: FaultyRegistry, repository: Repository, store: Store, status: int
) -> None:
    descriptor = Descriptor("application/x", elsewhere.add(BODY), len(BODY))
    target = f"http://{elsewhere.host}/v2/storage/blobs/{descriptor.digest}?signature=s3cret"
    server.fail("GET", "blobs", answers(status, location=target), after=0)
    assert repository.has(server.add(b"first"))  # from here on the login is known
    assert BODY == repository.fetch(descriptor, store).read_bytes()
    assert ["GET"] == [seen.method for seen in elsewhere.seen]
    assert "Authorization" not in elsewhere.seen[0].headers


def test_an_upload_elsewhere_takes_no_login_along(
    server: FaultyRegistry, elsewhere: FaultyRegistry, repository: Repository, store: Store
) -> None:
    elsewhere.uploads["abc"] = bytearray()
    moved = answers(202, location=f"http://{elsewhere.host}/v2/storage/blobs/uploads/abc")
    server.fail("POST", "uploads", moved)
    path = store.find(store.add(BODY))
    assert path is not None
    assert repository.has(server.add(b"first"))
    repository.upload(Descriptor("application/x", store.add(BODY), len(BODY)), path, None)
    assert ["PUT"] == [seen.method for seen in elsewhere.seen]
    assert "Authorization" not in elsewhere.seen[0].headers
    assert BODY in elsewhere.blobs.values()


def test_a_refusal_from_elsewhere_is_told_with_its_name_and_nothing_of_the_url(
    server: FaultyRegistry, elsewhere: FaultyRegistry, repository: Repository, store: Store
) -> None:
    target = f"http://{elsewhere.host}/bucket?signature=s3cret"
    server.fail("GET", "blobs", answers(307, location=target))
    elsewhere.fail("GET", "bucket", answers(403))
    with pytest.raises(RegistryUnavailable, match=elsewhere.host) as raised:
        repository.fetch(Descriptor("application/x", "sha256:" + "0" * 64, 3), store)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("target", ["http://example.com/blob", "ftp://127.0.0.1/blob", "file:///etc/passwd"])
def test_a_redirect_to_where_others_listen_is_refused(
    server: FaultyRegistry, repository: Repository, store: Store, target: str
) -> None:
    server.fail("GET", "blobs", answers(307, location=target))
    with pytest.raises(RegistryUnavailable, match="which is not TLS"):
        repository.fetch(Descriptor("application/x", "sha256:" + "0" * 64, 3), store)


def test_redirects_have_an_end(server: FaultyRegistry, repository: Repository, store: Store) -> None:
    server.fail("GET", "blobs", lambda handler: handler.reply(307, location=handler.path), times=100)
    with pytest.raises(RegistryError, match="redirects without an end"):
        repository.fetch(Descriptor("application/x", "sha256:" + "0" * 64, 3), store)
    assert 6 == len(server.asked("GET", "blobs")) - 1  # one was asked who it is


def repeats(handler: Handler) -> None:
    """An error that holds everything the client said."""
    told = f"you sent {handler.headers.get('Authorization')} and {PASSWORD}"
    handler.reply(400, f'{{"errors":[{{"code":"{BASIC}","message":"{told}"}}]}}'.encode())


def test_a_registry_that_repeats_a_secret_is_not_quoted(
    server: FaultyRegistry, repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert repository.has(server.add(b"first"))
    server.fail("GET", "manifests", repeats)
    with pytest.raises(RegistryError, match="answered 400") as raised:
        repository.resolve()
    everything = "".join(traceback.format_exception(raised.value)) + repr(raised.value) + caplog.text
    assert "you sent Basic *** and ***" in everything
    for secret in (PASSWORD, BASIC):
        assert secret not in everything


def bearer(server: FaultyRegistry, token: str) -> None:
    """From here on the registry wants a token, and its own address gives this one."""
    server.wants = f"Bearer {TOKEN}"
    server.challenge = f'Bearer realm="http://{server.host}/token",service="s"'
    answer = answers(200, f'{{"token":"{token}"}}'.encode())
    server.fail("GET", "^/token", answer, times=100)


def test_a_token_is_in_no_message(
    server: FaultyRegistry, repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bearer(server, TOKEN)
    server.fail("GET", "manifests", repeats)
    with pytest.raises(RegistryError) as raised:
        repository.resolve()
    everything = "".join(traceback.format_exception(raised.value)) + caplog.text
    assert "you sent Bearer ***" in everything
    assert not any(secret in everything for secret in (TOKEN, PASSWORD, BASIC))


@pytest.mark.parametrize("token", [r"evil\r\nX-Header: s3cret", "with space", "ä", ""])
def test_a_token_that_is_none_is_refused_and_not_told(
    server: FaultyRegistry, repository: Repository, token: str
) -> None:
    bearer(server, token)
    with pytest.raises(RegistryError, match="gave none") as raised:
        repository.resolve()
    assert "evil" not in "".join(traceback.format_exception(raised.value))


def test_a_proxys_password_is_in_no_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with faulty() as proxy:
        proxy.fail("CONNECT", "", answers(407))
        env = {"https_proxy": f"http://{USER}:{PASSWORD}@{proxy.host}"}
        policy = Policy(attempts=1, first_contact=1)
        with Repository(parse_reference("ghcr.io/acme/app"), env=env, policy=policy) as repository:
            with pytest.raises(RegistryUnavailable, match="through the proxy") as raised:
                repository.resolve()
        assert f"Basic {BASIC}" == proxy.seen[0].headers["Proxy-Authorization"]
    everything = "".join(traceback.format_exception(raised.value)) + caplog.text
    assert PASSWORD not in everything
    assert BASIC not in everything


def test_connections_show_nothing_of_the_environment() -> None:
    assert PASSWORD not in repr(Connections({"https_proxy": f"http://{USER}:{PASSWORD}@proxy"}, Limits()))
