"""HTTP to package indexes: their credentials, proxies and authorities; every failure names the host alone."""

from __future__ import annotations

import netrc
import os
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies_environment

from upon import UponError
from upon_build.lock.indexes import Index, Indexes

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

CONNECT = 10.0  # seconds
READ = 30.0  # seconds without a byte
TRIES = 4
MAX_WAIT = 20.0  # seconds between two tries
AGAIN = frozenset({408, 429, 500, 502, 503, 504})
REDIRECTS = 5


class IndexUnavailable(UponError, ConnectionError):
    """A package index does not answer, or does not let us in."""


class IndexFault(UponError):
    """A package index answers with something that can't be used."""


@dataclass(frozen=True, slots=True)
class Answer:
    """kind: its media type; url: where it came from in the end."""

    content: bytes
    kind: str
    url: str = field(repr=False)


class Web:
    """GET for the configured indexes. jitter: a random number in [0, 1). Safe for threads."""

    def __init__(
        self, indexes: Indexes, env: Mapping[str, str] = os.environ, *, tries: int = TRIES, backoff: float = 0.3
    ) -> None:
        self.tries = tries
        self.backoff = backoff
        self.sleep = time.sleep
        self._indexes = indexes
        self._env = env
        self._pools: dict[tuple[str, bool], PoolManager] = {}
        self._lock = threading.Lock()
        self._netrc = _netrc(env)

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> BaseHTTPResponse:
        """An open response with status 200, 206, 304 or 404; the caller drains or closes it.

        Tries again, waiting longer each time, when the connection fails or the server is busy.
        Raises IndexUnavailable, and IndexFault for another status.
        """
        from urllib3.exceptions import HTTPError
        from urllib3.util import Retry

        retry = Retry(
            total=self.tries - 1 + REDIRECTS,
            connect=self.tries - 1,
            read=self.tries - 1,
            status=self.tries - 1,
            redirect=REDIRECTS,
            other=1,  # TLS: a wrong certificate is no better the next time
            status_forcelist=AGAIN,
            backoff_factor=self.backoff,
            backoff_jitter=self.backoff,
            backoff_max=MAX_WAIT,
            respect_retry_after_header=False,  # an hour's wait is no answer to a person
            raise_on_status=False,
        )
        sent = {**(headers or {}), **self._authorization(url)}
        try:
            response = self._pool(url).request("GET", url, headers=sent, retries=retry, preload_content=False)
        except HTTPError as error:
            raise unreachable(url, error) from None
        if response.status in (200, 206, 304, 404):
            return response
        response.close()
        raise _refused(url, response.status)

    def read(self, url: str, headers: Mapping[str, str], most: int) -> Answer | None:
        """A small answer as a whole; None for 404. most: bytes. Raises as `get`."""
        from urllib3.exceptions import HTTPError

        for tries in range(self.tries):
            with self.get(url, headers) as response:
                if response.status == 404:
                    return None
                try:
                    content = response.read(most + 1, decode_content=True)
                except HTTPError as error:
                    if tries == self.tries - 1:
                        raise unreachable(url, error) from None
                    self.sleep(self.wait(tries))
                    continue
                if len(content) > most:
                    raise IndexFault(f"{_host(url)}'s answer to {_path(url)} is larger than {most} bytes")
                kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
                return Answer(content, kind, urljoin(url, response.geturl() or url))
        raise AssertionError("tries is 0")

    def wait(self, tries: int) -> float:
        """Seconds before try number `tries` + 1 of something that broke midway."""
        return min(MAX_WAIT, self.backoff * float(2**tries)) * (0.5 + random.random() / 2)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.clear()

    def _authorization(self, url: str) -> dict[str, str]:
        from urllib3.util import make_headers

        user = self._user(url)
        return dict(make_headers(basic_auth=user)) if user else {}

    def _user(self, url: str) -> str | None:
        """An index's own credentials for its own origin, else the netrc file's for the host."""
        for index in self._indexes.indexes:
            if (index.username or index.password) and _origin(index.url) == _origin(url):
                return f"{index.username}:{index.password}"
        found = self._netrc.authenticators(urlsplit(url).hostname or "") if self._netrc else None
        return f"{found[0]}:{found[2]}" if found else None

    def _pool(self, url: str) -> PoolManager:
        parts = urlsplit(url)
        host = parts.hostname or ""
        proxies = getproxies_environment()
        bypass = _bypassed(parts.netloc, proxies)
        proxy = "" if bypass else proxies.get(parts.scheme) or proxies.get("all") or ""
        insecure = not self._indexes.insecure.isdisjoint({host, parts.netloc})
        key = (proxy, insecure)
        with self._lock:
            if key not in self._pools:
                self._pools[key] = self._open(proxy, insecure)
            return self._pools[key]

    def _open(self, proxy: str, insecure: bool) -> PoolManager:
        from urllib3 import PoolManager, ProxyManager, Timeout, disable_warnings
        from urllib3.exceptions import InsecureRequestWarning
        from urllib3.util import make_headers

        options: dict[str, Any] = {
            "maxsize": 8,
            "timeout": Timeout(connect=CONNECT, read=READ),
            "headers": {"User-Agent": "upon"},
            "cert_reqs": "CERT_NONE" if insecure else "CERT_REQUIRED",
            **({"ca_certs": self._indexes.certificates} if self._indexes.certificates and not insecure else {}),
        }
        if insecure:
            disable_warnings(InsecureRequestWarning)  # the person has said so
        if not proxy:
            return PoolManager(**options)
        parts = urlsplit(proxy)
        user = f"{parts.username or ''}:{parts.password or ''}" if parts.username else None
        headers = make_headers(proxy_basic_auth=user) if user else None
        return ProxyManager(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", proxy_headers=headers, **options)


def _bypassed(netloc: str, proxies: dict[str, str]) -> bool:
    """As NO_PROXY says."""
    from urllib import request

    said: bool = request.proxy_bypass_environment(netloc, proxies)  # type: ignore[attr-defined]
    return said


def unreachable(url: str, error: BaseException) -> IndexUnavailable:
    """For a connection that could not be made or did not hold."""
    reason = getattr(error, "reason", None) or error
    said = type(reason).__name__
    for word, meaning in _REASONS.items():
        if word in said or word in str(reason):
            said = meaning
            break
    remedy = "check the network, the proxy settings and the index (UV_DEFAULT_INDEX, PIP_INDEX_URL)"
    return IndexUnavailable(f"{_host(url)} can't be reached: {said}; {remedy}")


_REASONS = {
    "NameResolution": "its name is unknown",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not signed by a known authority (see SSL_CERT_FILE)",
    "SSL": "there is no TLS connection to it",
    "Connection refused": "the connection is refused",
    "ConnectTimeout": f"no connection within {CONNECT:g} s",
    "ReadTimeout": f"no byte for {READ:g} s",
    "ProxyError": "the proxy does not let us through",
    "IncompleteRead": "the connection ended midway",
    "ProtocolError": "the connection broke",
    "Unverified": "the connection broke",
}


def _refused(url: str, status: int) -> UponError:
    if status in (401, 403, 407):
        remedy = "put the credentials into the index's URL, or into ~/.netrc"
        return IndexUnavailable(f"{_host(url)} does not let us in: it answers {status}; {remedy}")
    if status in AGAIN:
        return IndexUnavailable(f"{_host(url)} answers {status} again and again: try later")
    return IndexFault(f"{_host(url)} answers {status} to {_path(url)}: check the index's address")


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _path(url: str) -> str:
    return urlsplit(url).path


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def _netrc(env: Mapping[str, str]) -> netrc.netrc | None:
    path = env.get("NETRC") or os.path.join(env.get("HOME", ""), ".netrc")
    try:
        return netrc.netrc(path)
    except (OSError, netrc.NetrcParseError):
        return None


__all__ = ["Index", "IndexFault", "IndexUnavailable", "Web", "unreachable"]
