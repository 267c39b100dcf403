"""Getting into real registries: TLS with passwords, and bearer tokens."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.artifacts import image_of
from support.registry_locked import PASSWORD, USER, BearerRegistry, PasswordRegistry, docker_config
from support.tokens import REFRESH_TOKEN
from upon_build.cli.exits import Exit, exit_of
from upon_build.image.store import Store
from upon_build.registry.auth import Authorizer
from upon_build.registry.client import Repository
from upon_build.registry.connection import Connections
from upon_build.registry.credentials import Credentials
from upon_build.registry.errors import RegistryError, RegistryUnavailable
from upon_build.registry.limits import Limits
from upon_build.registry.push import push_image
from upon_build.registry.reference import parse_reference
from upon_build.registry.retry import Policy

VARIABLES = {"UPON_REGISTRY_USERNAME": USER, "UPON_REGISTRY_PASSWORD": PASSWORD}
AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
IMPATIENT = Policy(attempts=2, first_contact=2, pause=lambda seconds, stop: None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def trusted(registry_tls: PasswordRegistry, monkeypatch: pytest.MonkeyPatch) -> PasswordRegistry:
    monkeypatch.setenv("SSL_CERT_FILE", str(registry_tls.certificate))
    return registry_tls


@pytest.fixture
def asked(registry_bearer: BearerRegistry) -> Iterator[BearerRegistry]:
    """The one with the token server, its memory empty."""
    registry_bearer.tokens.asked.clear()
    yield registry_bearer
    registry_bearer.tokens.asked.clear()


def repository(name: str, **env: str) -> Repository:
    return Repository(parse_reference(name), env=env, policy=IMPATIENT)


# TLS and a password


def test_a_certificate_that_nobody_knows_is_told_with_the_remedy(registry_tls: PasswordRegistry) -> None:
    with repository(registry_tls.repository("locks/app"), **VARIABLES) as found:
        with pytest.raises(RegistryUnavailable, match=r"certificate of .* not trusted.*SSL_CERT_FILE") as raised:
            found.resolve("v1")
    assert Exit.UNAVAILABLE == exit_of(raised.value)


def test_a_certificate_file_that_is_not_there_is_told(
    registry_tls: PasswordRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with repository(registry_tls.repository("locks/app"), **VARIABLES) as found:
        with pytest.raises(RegistryUnavailable, match=r"'/nowhere/ca.pem', which it names now, is not there"):
            found.resolve("v1")


@pytest.mark.parametrize("kind", ["variables", "docker's file"])
def test_a_password_lets_in(trusted: PasswordRegistry, store: Store, tmp_path: Path, kind: str) -> None:
    env = VARIABLES if kind == "variables" else {"DOCKER_CONFIG": str(docker_config(tmp_path, trusted.host, auth=AUTH))}
    image = image_of(store, kind.encode())
    with repository(trusted.repository("locks/password"), **env) as found:
        push_image(image, store, found, "v1")
        assert (image.descriptor, image.content) == found.resolve("v1")


def test_without_a_login_the_message_says_how_to_get_one(trusted: PasswordRegistry) -> None:
    with repository(trusted.repository("locks/app")) as found:
        with pytest.raises(RegistryUnavailable) as raised:
            found.resolve("v1")
    said = str(raised.value)
    assert f"{trusted.host} wants a login for {trusted.host}/locks/app (UNAUTHORIZED:" in said
    assert f"`docker login {trusted.host}`" in said
    assert "UPON_REGISTRY_USERNAME" in said
    assert Exit.UNAVAILABLE == exit_of(raised.value)


def test_a_wrong_password_is_told_with_where_it_was_found(trusted: PasswordRegistry, tmp_path: Path) -> None:
    folder = docker_config(tmp_path, trusted.host, username=USER, password="wr0ng-s3cret")
    with repository(trusted.repository("locks/app"), DOCKER_CONFIG=str(folder)) as found:
        with pytest.raises(RegistryUnavailable, match=rf"does not accept the login from {folder}") as raised:
            found.has("sha256:" + "0" * 64)
    assert "wr0ng-s3cret" not in str(raised.value)


# Bearer tokens


def test_one_token_does_for_a_whole_push(asked: BearerRegistry, store: Store) -> None:
    image = image_of(store, b"one", b"two", b"three", b"four", b"five")
    with repository(asked.repository("locks/bearer"), **VARIABLES) as found:
        push_image(image, store, found, "v1")
        assert (image.descriptor, image.content) == found.resolve("v1")
    service = asked.tokens.service
    assert [("GET", {"service": [service], "scope": ["repository:locks/bearer:pull,push"]})] == asked.tokens.asked


def test_what_is_public_is_read_without_a_login(asked: BearerRegistry, store: Store) -> None:
    image = image_of(store, b"for everybody")
    with repository(asked.repository("public/base"), **VARIABLES) as found:
        push_image(image, store, found, "v1")
    with repository(asked.repository("public/base")) as found:
        assert (image.descriptor, image.content) == found.resolve("v1")
        with pytest.raises(RegistryUnavailable, match="wants a login"):
            push_image(image_of(store, b"mine"), store, found, "v1")


def test_a_mount_has_a_token_for_both_repositories(asked: BearerRegistry, store: Store, tmp_path: Path) -> None:
    content = b"a layer under lock"
    with repository(asked.repository("locks/base"), **VARIABLES) as found:
        push_image(image_of(store, content), store, found, "v1")
    image = image_of(Store(tmp_path / "x"), content, source=asked.repository("locks/base"), keep=False)
    with repository(asked.repository("locks/app"), **VARIABLES) as found:
        assert 1 == push_image(image, store, found, "v1").mounted
    assert ["repository:locks/app:pull,push", "repository:locks/base:pull"] == asked.tokens.asked[-1][1]["scope"]


def test_an_identity_token_is_posted(asked: BearerRegistry, store: Store, tmp_path: Path) -> None:
    folder = docker_config(tmp_path, asked.host, identitytoken=REFRESH_TOKEN)
    with repository(asked.repository("locks/identity"), DOCKER_CONFIG=str(folder)) as found:
        push_image(image_of(store, b"by identity"), store, found, "v1")
    [(method, form)] = asked.tokens.asked
    assert "POST" == method
    assert {
        "grant_type": ["refresh_token"],
        "client_id": ["upon"],
        "service": [asked.tokens.service],
        "scope": ["repository:locks/identity:pull,push"],
        "refresh_token": [REFRESH_TOKEN],
    } == form


def test_a_password_that_the_token_server_refuses_is_told(asked: BearerRegistry) -> None:
    env = {**VARIABLES, "UPON_REGISTRY_PASSWORD": "wr0ng-s3cret", "UPON_REGISTRY_HOST": asked.host}
    with repository(asked.repository("locks/app"), **env) as found:
        with pytest.raises(RegistryUnavailable, match=r"does not accept the login .*UPON_REGISTRY_USERNAME") as raised:
            found.resolve("v1")
    assert "wr0ng-s3cret" not in str(raised.value)


def authorizer(registry: BearerRegistry, now: list[float]) -> tuple[Authorizer, str]:
    reference = parse_reference(registry.repository("locks/time"))
    login = Credentials({**VARIABLES, "UPON_REGISTRY_HOST": registry.host})
    challenge = f'Bearer realm="{registry.tokens.url}/token",service="{registry.tokens.service}"'
    return Authorizer(reference, login, Connections({}, Limits()), lambda: now[0]), challenge


def test_a_token_is_renewed_before_it_expires_and_when_it_is_refused(asked: BearerRegistry) -> None:
    now = [0.0]
    auth, challenge = authorizer(asked, now)
    scopes = ("repository:locks/time:pull",)
    assert auth.header(scopes) is None
    assert auth.challenged([challenge], scopes, None)
    first = auth.header(scopes)
    now[0] = 0.79 * asked.tokens.lifetime
    assert first == auth.header(scopes)
    now[0] = 0.81 * asked.tokens.lifetime
    second = auth.header(scopes)
    assert first != second
    assert auth.challenged([challenge], scopes, first), "another thread has renewed it: no third token"
    assert second == auth.header(scopes)
    assert auth.challenged([challenge], scopes, second)
    assert second != auth.header(scopes)
    assert 3 == len(asked.tokens.asked)


def test_other_scopes_have_a_token_of_their_own_without_being_asked(asked: BearerRegistry) -> None:
    auth, challenge = authorizer(asked, [0.0])
    assert auth.challenged([challenge], ("repository:locks/time:pull",), None)
    assert auth.header(("repository:locks/time:pull,push",)) not in (None, auth.header(("repository:locks/time:pull",)))
    assert 2 == len(asked.tokens.asked)


@pytest.mark.parametrize("realm", ["http://auth.example.com/token", "ftp://127.0.0.1/token"])
def test_a_password_never_goes_over_plain_http(asked: BearerRegistry, realm: str) -> None:
    auth, _ = authorizer(asked, [0.0])
    with pytest.raises(RegistryUnavailable, match="a password could be read on the way"):
        auth.challenged([f'Bearer realm="{realm}"'], ("repository:locks/time:pull",), None)


def test_a_registry_elsewhere_can_not_send_us_to_this_machine(asked: BearerRegistry) -> None:
    elsewhere = Authorizer(parse_reference("ghcr.io/acme/app"), Credentials.none(), Connections({}, Limits()))
    with pytest.raises(RegistryError, match="could be read on the way"):
        elsewhere.challenged([f'Bearer realm="{asked.tokens.url}/token"'], ("repository:acme/app:pull",), None)
    assert [] == asked.tokens.asked
