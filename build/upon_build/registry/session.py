"""One conversation with a registry about one repository: address, login, redirects, and another try."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from upon_build.registry.auth import Authorizer
from upon_build.registry.challenge import merge_scopes
from upon_build.registry.connection import Connections
from upon_build.registry.credentials import Credentials
from upon_build.registry.errors import RegistryError, RegistryUnavailable
from upon_build.registry.failures import Transient
from upon_build.registry.limits import Limits
from upon_build.registry.reference import Reference, is_loopback
from upon_build.registry.refusals import refusal, words_of
from upon_build.registry.response import LARGEST_ANSWER, Response
from upon_build.registry.retry import BUSY, Policy, check, retry_after

MOST_HOPS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. target: an URL, or a path below `/v2/NAME/`; body: makes the body anew for each try.

    mounting: the other repository that is read from; wait: seconds until the response's head; most: bytes of the
    response's body.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Any] | None = None
    mounting: str | None = None
    wait: float | None = None
    most: int = LARGEST_ANSWER


class Session:
    """pushing: whether tokens are asked for that may write."""

    def __init__(
        self,
        reference: Reference,
        credentials: Credentials,
        *,
        env: Mapping[str, str] = os.environ,
        policy: Policy | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.reference = reference
        self.policy = policy or Policy()
        self.limits = limits or Limits()
        self.pushing = False
        self._connections = Connections(env, self.limits)
        self._auth = Authorizer(reference, credentials, self._connections)
        self._lock = threading.Lock()
        self._scheme: str | None = None

    def close(self) -> None:
        self._connections.close()

    def ask(self, ask: Ask, stop: threading.Event | None = None) -> Response:
        """The response with its body, whatever its status but 401 and the ones that pass: those are tried again.

        Raises RegistryError, never Transient.
        """
        attempts = Attempts(self, stop or threading.Event())
        while True:
            try:
                response = self.once(ask)
                response.content(ask.most)
                return response
            except Transient as error:
                attempts.failed(error)

    def refused(self, response: Response) -> RegistryError:
        """The error that this response stands for."""
        try:
            said = words_of(response.content())
        except (Transient, RegistryError):
            said = ("", "")
        said = (self._auth.hide(said[0]), self._auth.hide(said[1]))
        doing = "push to" if self.pushing else "read"
        login = self._auth.login(self._scopes(None))
        ours = response.host == self.reference.endpoint
        short = "insufficient_scope" in response.headers.get("WWW-Authenticate", "")
        status = 403 if short and login is not None else response.status
        return refusal(status, self.reference, doing, said, login, self._auth.note(), "" if ours else response.host)

    def once(self, ask: Ask) -> Response:
        """One try, with a second one where the registry wants a (new) login; the body is still to be read.

        Raises Transient, RegistryError.
        """
        url = urljoin(f"{self._base()}/v2/{self.reference.repository}/", ask.target)
        scopes = self._scopes(ask.mounting)
        used = self._auth.header(scopes)
        response = self._follow(ask, url, used)
        if response.status == 401 and self._is_ours(response.url):
            response.discard()
            if self._auth.challenged(response.headers.getlist("WWW-Authenticate"), scopes, used):
                response = self._follow(ask, url, self._auth.header(scopes))
        if response.status == 401:
            raise self.refused(response)
        if response.status in BUSY:
            raise Transient(self.refused(response), retry_after(response.headers.get("Retry-After")))
        return response

    def location(self, response: Response) -> str:
        """Where the response sends us on: never from TLS to plain http."""
        found = response.headers.get("Location")
        if not found:
            raise RegistryError(f"{self.reference.registry} did not say where to go on: it is no registry")
        return self._safe(urljoin(response.url, found))

    @property
    def heard(self) -> bool:
        return self._connections.heard

    def _follow(self, ask: Ask, url: str, authorization: str | None) -> Response:
        for _ in range(MOST_HOPS + 1):
            headers = dict(ask.headers)
            if authorization is not None and self._is_ours(url):
                headers["Authorization"] = authorization
            body = ask.body() if ask.body is not None else None
            response = self._connections.send(ask.method, url, headers, body, wait=ask.wait)
            kept = ask.method in ("GET", "HEAD") or response.status in (307, 308)
            if response.status not in REDIRECTS or not kept:
                return response
            response.discard()
            url = self.location(response)
        raise RegistryError(f"{self.reference.registry} redirects without an end: check its configuration")

    def _safe(self, url: str) -> str:
        where, base = urlsplit(url), urlsplit(self._base())
        if where.scheme == "http" and base.scheme == "https" and where.hostname == base.hostname:
            return where._replace(scheme="https", netloc=base.netloc).geturl()  # a proxy took the TLS off
        host = where.netloc.rpartition("@")[2]
        if where.scheme != "https" and not (where.scheme == "http" and is_loopback(host) and self.reference.is_local):
            raise RegistryUnavailable(
                f"{self.reference.registry} redirects to {where.scheme}://{host}, which is not TLS:"
                " its operator has to name an https:// address"
            )
        return url

    def _is_ours(self, url: str) -> bool:
        """Whether it is the registry itself: nobody else gets to see the login."""
        where, base = urlsplit(url), urlsplit(self._base())
        return (where.scheme, where.netloc) == (base.scheme, base.netloc)

    def _scopes(self, mounting: str | None) -> tuple[str, ...]:
        own = f"repository:{self.reference.repository}:{'pull,push' if self.pushing else 'pull'}"
        return merge_scopes([own], [f"repository:{mounting}:pull"] if mounting else [])

    def _base(self) -> str:
        with self._lock:
            if self._scheme is None:
                self._scheme = self._find_scheme() if self.reference.is_local else "https"
            return f"{self._scheme}://{self.reference.endpoint}"

    def _find_scheme(self) -> str:
        """On this machine a registry may do without TLS: whether it does is asked without a login."""
        host = self.reference.endpoint
        try:
            response = self._connections.send("GET", f"http://{host}/v2/", {})
        except Transient:
            if self._connections.speaks_tls(host):
                return "https"
            raise
        response.discard()
        return "https" if response.status == 400 and self._connections.speaks_tls(host) else "http"


class Attempts:
    """Counts failures of one transfer; progress forgives them, up to a total."""

    def __init__(self, session: Session, stop: threading.Event) -> None:
        self._session = session
        self._stop = stop
        self._failures = 0
        self._total = 0

    def failed(self, error: Transient) -> None:
        """Wait before another try, or raise what is to be told."""
        policy = self._session.policy
        self._failures += 1
        self._total += 1
        most = policy.attempts if self._session.heard else policy.first_contact
        if self._failures >= most or self._total >= policy.total:
            raise error.error from None
        check(self._stop)
        policy.wait(self._failures, error.wish, self._stop)

    def progressed(self) -> None:
        self._failures = 0
