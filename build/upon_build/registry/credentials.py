"""Who we are to a registry: what docker, podman and their helper programs wrote down, or two environment variables."""

from __future__ import annotations

import base64
import binascii
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upon_build.registry.errors import RegistryError
from upon_build.registry.helpers import HelperFailed, ask_helper
from upon_build.registry.reference import HUB, HUB_NAMES

USERNAME = "UPON_REGISTRY_USERNAME"
PASSWORD = "UPON_REGISTRY_PASSWORD"
HOST = "UPON_REGISTRY_HOST"
LARGEST_FILE = 2**20  # bytes


@dataclass(frozen=True, slots=True)
class Login:
    """A name with its password, or an identity token that stands for both. origin: where it was found, for messages."""

    origin: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The header of basic authentication."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Credentials:
    """Logins by registry, looked up when a registry asks. env: where the variables and files are named."""

    def __init__(self, env: Mapping[str, str], helper: Callable[[str, str], Mapping[str, str] | None] = ask_helper):
        self._env = env
        self._helper = helper
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], Login | None] = {}
        self._notes: dict[str, str] = {}

    @classmethod
    def default(cls, env: Mapping[str, str] = os.environ) -> Credentials:
        """Those of the person at this machine."""
        return cls(env)

    @classmethod
    def none(cls) -> Credentials:
        """Nobody's."""
        return cls({})

    def find(self, registry: str, repository: str = "", *, pushing: bool = False) -> Login | None:
        """The login for a repository, or None; a file that can't be read is a RegistryError.

        pushing: the variables belong to the registry that is pushed to, or to the one that UPON_REGISTRY_HOST names:
        whatever else is asked (where a base image comes from) never gets to see them.
        """
        from_env = self._from_env(registry, pushing)
        if from_env is not None:
            return from_env
        with self._lock:
            key = (registry, repository)
            if key not in self._found:
                self._found[key] = next((login for login in self._from_files(registry, repository)), None)
            return self._found[key]

    def note(self, registry: str) -> str:
        """Why a login that was written down could not be used, or nothing."""
        return self._notes.get(registry, "")

    def _from_env(self, registry: str, pushing: bool) -> Login | None:
        name, password = self._env.get(USERNAME, ""), self._env.get(PASSWORD, "")
        if not name and not password:
            return None
        if not name or not password:
            raise RegistryError(
                f"{USERNAME if name else PASSWORD} is set alone: set {USERNAME} and {PASSWORD}, or none"
            )
        host = self._env.get(HOST, "")
        meant = _plain(host) == _plain(registry) if host else pushing
        return Login(USERNAME, name, password) if meant else None

    def _from_files(self, registry: str, repository: str) -> Iterator[Login]:
        for path in config_files(self._env):
            said = _read(path)
            helper = _helper_of(said, registry)
            login = self._from_helper(helper, registry, path) if helper else None
            login = login or _from_auths(said.get("auths"), registry, repository, path)
            if login is not None:
                yield login

    def _from_helper(self, name: str, registry: str, path: Path) -> Login | None:
        try:
            said = self._helper(name, "https://index.docker.io/v1/" if registry == HUB else registry)
        except HelperFailed as error:
            self._notes[registry] = f"{error}, which {path} names"
            return None
        if said is None:
            return None
        username, secret = said.get("Username", ""), said.get("Secret", "")
        origin = f"docker-credential-{name}"
        return Login(origin, identity_token=secret) if username == "<token>" else Login(origin, username, secret)


def config_files(env: Mapping[str, str]) -> list[Path]:
    """Where logins are written down, the most particular first; only files that are there."""
    home = Path(env["HOME"]) if env.get("HOME") else None
    candidates = [
        Path(env["REGISTRY_AUTH_FILE"]) if env.get("REGISTRY_AUTH_FILE") else None,
        Path(env["DOCKER_CONFIG"], "config.json")
        if env.get("DOCKER_CONFIG")
        else home and home / ".docker/config.json",
        Path(env["XDG_RUNTIME_DIR"], "containers/auth.json") if env.get("XDG_RUNTIME_DIR") else None,
        Path(env["XDG_CONFIG_HOME"], "containers/auth.json")
        if env.get("XDG_CONFIG_HOME")
        else home and home / ".config/containers/auth.json",
    ]
    return [path for path in candidates if path is not None and path.is_file()]


def _read(path: Path) -> Mapping[str, Any]:
    """The file as a mapping. Nothing of what is in it may get into a message."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise RegistryError(f"{path} can't be read ({error.strerror}): mend it, or log in again") from None
    try:
        said = json.loads(content) if content.strip() else {}
    except ValueError:
        said = None
    if not isinstance(said, dict) or len(content) > LARGEST_FILE:
        raise RegistryError(f"{path} is no JSON object: mend it, or log in again") from None
    return said


def _helper_of(said: Mapping[str, Any], registry: str) -> str | None:
    helpers = said.get("credHelpers")
    for key, name in helpers.items() if isinstance(helpers, dict) else ():
        if _plain(key) == _plain(registry) and isinstance(name, str) and name:
            return name
    store = said.get("credsStore")
    return store if isinstance(store, str) and store else None


def _from_auths(auths: object, registry: str, repository: str, path: Path) -> Login | None:
    """podman's keys may name a namespace or a repository: the longest that fits wins."""
    if not isinstance(auths, dict):
        return None
    known = {_plain(key): entry for key, entry in auths.items() if isinstance(entry, dict)}
    parts = [_plain(registry), *repository.split("/")] if repository else [_plain(registry)]
    for count in range(len(parts), 0, -1):
        login = _login_of(known.get("/".join(parts[:count]), {}), path)
        if login is not None:
            return login
    return None


def _login_of(entry: Mapping[str, Any], path: Path) -> Login | None:
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Login(str(path), identity_token=token)
    username, password = entry.get("username"), entry.get("password")
    if isinstance(username, str) and isinstance(password, str) and username:
        return Login(str(path), username, password)
    encoded = entry.get("auth")
    if not isinstance(encoded, str) or not encoded:
        return None
    try:
        username, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise RegistryError(f"{path} has an `auth` that is no base64 of name:password: log in again") from None
    return Login(str(path), str(username), str(password).rstrip("\0"))


def _plain(key: str) -> str:
    """A registry's name out of a key: without scheme, without the API's version; all names of Docker Hub as one."""
    plain = key.partition("://")[2] or key
    plain = plain.rstrip("/").removesuffix("/v1").removesuffix("/v2").rstrip("/")
    host, slash, rest = plain.partition("/")
    return (HUB if host in HUB_NAMES else host) + slash + rest
