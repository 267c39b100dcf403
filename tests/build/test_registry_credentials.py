from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from upon_build.registry.credentials import Credentials, Login, config_files
from upon_build.registry.errors import RegistryError
from upon_build.registry.helpers import HelperFailed

SECRET = "hunter2-s3cret"


def auth(user: str, password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def docker(folder: Path, **said: Any) -> dict[str, str]:
    """The environment of somebody with this config.json."""
    (folder / "config.json").write_text(json.dumps(said))
    return {"DOCKER_CONFIG": str(folder)}


def found(env: Mapping[str, str], registry: str, repository: str = "acme/app") -> tuple[str, str] | None:
    login = Credentials(env).find(registry, repository)
    return None if login is None else (login.username, login.password)


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io/v2/", "ghcr.io"),
        ("127.0.0.1:5000", "127.0.0.1:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_dockers_keys_are_found_however_they_are_written(tmp_path: Path, key: str, registry: str) -> None:
    env = docker(tmp_path, auths={key: auth("ada"), "other.io": auth("bob")})
    assert ("ada", SECRET) == found(env, registry)
    assert found(env, "elsewhere.io") is None


def test_a_password_may_hold_colons(tmp_path: Path) -> None:
    assert ("ada", "a:b:c") == found(docker(tmp_path, auths={"ghcr.io": auth("ada", "a:b:c")}), "ghcr.io")


def test_the_longest_of_podmans_keys_wins(tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    keys = {"ghcr.io": auth("all"), "ghcr.io/acme": auth("team"), "ghcr.io/acme/app": auth("app")}
    file.write_text(json.dumps({"auths": keys}))
    env = {"REGISTRY_AUTH_FILE": str(file)}
    assert ("app", SECRET) == found(env, "ghcr.io", "acme/app")
    assert ("team", SECRET) == found(env, "ghcr.io", "acme/other")
    assert ("all", SECRET) == found(env, "ghcr.io", "acmeapp")


def test_an_identity_token_goes_before_a_password(tmp_path: Path) -> None:
    env = docker(tmp_path, auths={"ghcr.io": {**auth("ada"), "identitytoken": "tok"}})
    assert Login(str(tmp_path / "config.json"), identity_token="tok") == Credentials(env).find("ghcr.io")


def test_files_are_asked_in_their_order(tmp_path: Path) -> None:
    home = tmp_path / "home"
    places = [
        home / ".docker/config.json",
        tmp_path / "run/containers/auth.json",
        home / ".config/containers/auth.json",
    ]
    for place in places:
        place.parent.mkdir(parents=True)
        place.write_text("{}")
    assert places == config_files({"HOME": str(home), "XDG_RUNTIME_DIR": str(tmp_path / "run")})
    assert [] == config_files({"HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path / "nowhere")})


def test_an_entry_without_a_login_does_not_hide_the_next_file(tmp_path: Path) -> None:
    env = docker(tmp_path, auths={"ghcr.io": {}})
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {"ghcr.io": auth("ada")}}))
    assert ("ada", SECRET) == found({**env, "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}, "ghcr.io")


@pytest.mark.parametrize("content", ["{", "[]", f'{{"auths": {{"ghcr.io": {{"auth": "{SECRET}"}}}}}}', '"' + SECRET])
def test_a_broken_file_is_named_and_nothing_of_it_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RegistryError, match=str(tmp_path / "config.json")) as raised:
        Credentials({"DOCKER_CONFIG": str(tmp_path)}).find("ghcr.io")
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_helper_of_one_registry_goes_before_the_store_of_all(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def helper(name: str, server: str) -> Mapping[str, str] | None:
        asked.append((name, server))
        return {"Username": name, "Secret": SECRET}

    env = docker(tmp_path, credHelpers={"gcr.io": "gcloud"}, credsStore="desktop")
    credentials = Credentials(env, helper)
    assert Login("docker-credential-gcloud", "gcloud", SECRET) == credentials.find("gcr.io")
    assert Login("docker-credential-desktop", "desktop", SECRET) == credentials.find("docker.io")
    credentials.find("docker.io")
    assert [("gcloud", "gcr.io"), ("desktop", "https://index.docker.io/v1/")] == asked


def test_a_helper_may_give_an_identity_token(tmp_path: Path) -> None:
    env = docker(tmp_path, credsStore="acr")
    credentials = Credentials(env, lambda name, server: {"Username": "<token>", "Secret": SECRET})
    assert Login("docker-credential-acr", identity_token=SECRET) == credentials.find("x.azurecr.io")


def test_a_helper_that_fails_is_noted_and_the_file_asked(tmp_path: Path) -> None:
    def helper(name: str, server: str) -> Mapping[str, str] | None:
        raise HelperFailed("there is no program 'docker-credential-desktop'")

    env = docker(tmp_path, credsStore="desktop", auths={"ghcr.io": auth("ada")})
    credentials = Credentials(env, helper)
    assert credentials.find("quay.io") is None
    assert "docker-credential-desktop" in credentials.note("quay.io")
    assert str(tmp_path) in credentials.note("quay.io")
    login = credentials.find("ghcr.io")
    assert login is not None
    assert "ada" == login.username


def test_variables_are_for_the_registry_that_is_pushed_to(tmp_path: Path) -> None:
    env = {"UPON_REGISTRY_USERNAME": "ci", "UPON_REGISTRY_PASSWORD": SECRET}
    credentials = Credentials(env)
    assert Login("UPON_REGISTRY_USERNAME", "ci", SECRET) == credentials.find("ghcr.io", pushing=True)
    assert credentials.find("docker.io") is None


def test_a_named_host_is_the_only_one_to_see_the_variables() -> None:
    env = {"UPON_REGISTRY_USERNAME": "ci", "UPON_REGISTRY_PASSWORD": SECRET, "UPON_REGISTRY_HOST": "ghcr.io"}
    credentials = Credentials(env)
    assert credentials.find("ghcr.io") is not None
    assert credentials.find("docker.io", pushing=True) is None


def test_half_of_the_variables_is_an_error() -> None:
    with pytest.raises(RegistryError, match="UPON_REGISTRY_PASSWORD is set alone"):
        Credentials({"UPON_REGISTRY_PASSWORD": SECRET}).find("ghcr.io")


def test_no_repr_shows_a_secret() -> None:
    assert SECRET not in repr(Login("here", "ada", SECRET, SECRET))
