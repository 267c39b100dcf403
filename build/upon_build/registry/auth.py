"""Getting in: bearer tokens for exactly what is to be done (kept until they expire), or basic authentication."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from upon_build.registry.challenge import Challenge, merge_scopes, parse_challenges
from upon_build.registry.connection import Connections
from upon_build.registry.credentials import Credentials, Login
from upon_build.registry.errors import RegistryError, RegistryUnavailable
from upon_build.registry.failures import Transient, host_of
from upon_build.registry.reference import Reference, is_loopback
from upon_build.registry.retry import BUSY, retry_after

SHORTEST = 60.0  # seconds that a token lasts whose server does not say
MARGIN = 0.2  # of its life a token is not used any more
CLIENT = "upon"


class Authorizer:
    """The header Authorization of one registry; threads share what one of them got."""

    def __init__(
        self,
        reference: Reference,
        credentials: Credentials,
        connections: Connections,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reference = reference
        self._credentials = credentials
        self._connections = connections
        self._clock = clock
        self._lock = threading.Lock()
        self._bearer: Challenge | None = None
        self._basic: str | None = None
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}
        self._secrets: set[str] = set()

    def header(self, scopes: tuple[str, ...]) -> str | None:
        """What to send with a request that does this, as far as the registry has asked before."""
        with self._lock:
            if self._bearer is not None:
                return self._current(scopes) or self._fetch(self._bearer, scopes)
            return self._basic

    def challenged(self, headers: Iterable[str], scopes: tuple[str, ...], used: str | None) -> bool:
        """The registry said 401 to a request with the header `used`: whether there is a better one now."""
        challenges = {challenge.scheme: challenge for challenge in reversed(parse_challenges(headers))}
        with self._lock:
            bearer = challenges.get("bearer")
            if bearer is not None and bearer.parameters.get("realm"):
                self._bearer = bearer
                current = self._current(scopes)
                if current is None or current == used:
                    current = self._fetch(bearer, scopes)
                return current != used
            if "basic" in challenges:
                login = self._login(scopes)
                self._basic = None if login is None or login.identity_token else login.basic
                return self._basic is not None and self._basic != used
        return False

    def login(self, scopes: Iterable[str]) -> Login | None:
        """Who we are to this registry."""
        return self._credentials.find(
            self._reference.registry, self._reference.repository, pushing=any("push" in scope for scope in scopes)
        )

    def note(self) -> str:
        return self._credentials.note(self._reference.registry)

    def hide(self, text: str) -> str:
        """The text without any secret that was used, should a registry repeat it."""
        for secret in sorted(self._secrets, key=len, reverse=True):  # one may hold another
            text = text.replace(secret, "***")
        return text

    def _login(self, scopes: Iterable[str]) -> Login | None:
        login = self.login(scopes)
        if login is not None:
            self._kept(login.password)
            self._kept(login.identity_token)
            self._kept(login.basic.removeprefix("Basic "))
        return login

    def _kept(self, secret: str) -> str:
        if len(secret) > 3:
            self._secrets.add(secret)
        return secret

    def _current(self, scopes: tuple[str, ...]) -> str | None:
        header, until = self._tokens.get(scopes, (None, 0.0))
        return header if self._clock() < until else None

    def _fetch(self, challenge: Challenge, scopes: tuple[str, ...]) -> str:
        realm = challenge.parameters["realm"]
        self._check(realm)
        named = challenge.parameters.get("scope", "").split()
        wanted = merge_scopes(scopes, named if self._is_about(named) else ())
        login = self._login(scopes)
        began = self._clock()
        said = self._ask(realm, challenge.parameters.get("service", ""), wanted, login)
        token = said.get("token") or said.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
            raise RegistryError(
                f"{host_of(realm)}, which gives out the tokens of {self._reference.registry}, gave none"
            )
        lasts = said.get("expires_in")
        lasts = float(lasts) if isinstance(lasts, (int, float)) and lasts > 0 else SHORTEST
        self._tokens[scopes] = (f"Bearer {self._kept(token)}", began + lasts * (1 - MARGIN))
        return self._tokens[scopes][0]

    def _is_about(self, scopes: Iterable[str]) -> bool:
        """A challenge is remembered: its own scopes may be those of another repository."""
        return all(scope.startswith(f"repository:{self._reference.repository}:") for scope in scopes)

    def _check(self, realm: str) -> None:
        """Whatever has our password sees TLS, or this machine alone."""
        where = urlsplit(realm)
        local = is_loopback(where.netloc.rpartition("@")[2]) and self._reference.is_local
        if where.scheme != "https" and not (where.scheme == "http" and local):
            raise RegistryUnavailable(
                f"{self._reference.registry} sends its clients to {where.scheme}://{host_of(realm)} for a token, where"
                " a password could be read on the way: its operator has to name an https:// address"
            )

    def _ask(self, realm: str, service: str, scopes: tuple[str, ...], login: Login | None) -> Mapping[str, Any]:
        headers: dict[str, str] = {}
        form = [("service", service)] if service else []
        if login is not None and login.identity_token:
            form += [("grant_type", "refresh_token"), ("client_id", CLIENT), ("scope", " ".join(scopes))]
            body = urlencode([*form, ("refresh_token", login.identity_token)]).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            response = self._connections.send("POST", realm, headers, body)
        else:
            if login is not None:
                headers["Authorization"] = login.basic
            query = urlencode([*form, *(("scope", scope) for scope in scopes)])
            url = f"{realm}{'&' if '?' in realm else '?'}{query}"
            response = self._connections.send("GET", url, headers)
        content = response.content()
        if response.status != 200:
            raise self._refused(response.status, response.headers.get("Retry-After"), response.host, login)
        try:
            said = json.loads(content)
        except ValueError:
            said = None
        return said if isinstance(said, dict) else {}

    def _refused(self, status: int, after: str | None, host: str, login: Login | None) -> Exception:
        name = self._reference.name
        if status in BUSY:
            said = f"{host}, which gives out the tokens for {name}, answers {status}: run the command again later"
            return Transient(RegistryError(said, status=status), retry_after(after))
        if status in (400, 401, 403) and login is not None:
            fact = f"{host} does not accept the login for {name} (from {login.origin})"
            return RegistryUnavailable(
                f"{fact}: log in again with `docker login {self._reference.registry}`", status=status
            )
        fact = f"{host} gives no token for {name} (it answers {status})"
        remedy = f"log in with `docker login {self._reference.registry}`"
        return RegistryUnavailable(f"{fact}: {remedy}", status=status)
