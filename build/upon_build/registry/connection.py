"""HTTP to registries on urllib3: TLS, proxies, deadlines, and errors that carry no secret of an URL or a header."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from upon import MissingExtra, __version__
from upon_build.registry.failures import failure, host_of
from upon_build.registry.limits import Limits
from upon_build.registry.proxies import proxy_for
from upon_build.registry.response import BLOCK, Response

try:
    import urllib3
    from urllib3 import exceptions as errors
    from urllib3.connection import HTTPConnection, HTTPSConnection
except ImportError:
    raise MissingExtra("a registry", "deploy") from None

USER_AGENT = f"upon/{__version__}"


class _Deadlined:
    """The read timeout bounds the whole of a response's head, not each of its bytes: the socket is cut."""

    def getresponse(self) -> Any:
        connection: Any = self
        late = threading.Event()
        timer = threading.Timer(connection.timeout, _cut, (connection.sock, late))
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        finally:
            timer.cancel()
        if late.is_set():  # http.client takes a head that was cut off for a whole one
            response.close()
            raise TimeoutError
        return response


def _cut(sock: socket.socket, late: threading.Event) -> None:
    late.set()
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # SSLSocket's own would take TLS off under the reader
    except OSError:
        return


class _Http(_Deadlined, HTTPConnection):
    pass


class _Https(_Deadlined, HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Http  # pyright: ignore[reportAssignmentType]


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Https  # pyright: ignore[reportAssignmentType]


class Connections:
    """Kept-alive connections to a registry and to wherever it redirects; any thread may use them.

    heard: whether anybody ever answered.
    """

    def __init__(self, env: Mapping[str, str], limits: Limits, size: int = 8) -> None:
        self.limits = limits
        self.heard = False
        self._env = env
        self._size = size
        self._lock = threading.Lock()
        self._managers: dict[str, urllib3.PoolManager] = {}
        self._context: ssl.SSLContext | None = None

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Any = None,
        *,
        wait: float | None = None,
    ) -> Response:
        """One request, no redirect followed; the body of the response is still to be read. Raises Transient, or
        RegistryError where trying again is no use."""
        manager = self._manager(url)
        timeout = urllib3.Timeout(connect=self.limits.connect, read=wait or self.limits.answer)
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        try:
            response = manager.urlopen(
                method,
                url,
                headers=sent,
                body=body,
                timeout=timeout,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except (errors.HTTPError, OSError, UnicodeError) as error:
            raise failure(error, host_of(url)) from None
        self.heard = True
        return Response(response, url, self.limits)

    def close(self) -> None:
        with self._lock:
            for manager in self._managers.values():
                manager.clear()

    def speaks_tls(self, host: str) -> bool:
        """Whether a TLS handshake succeeds, whoever it is: nothing but that is learned or sent."""
        where = urlsplit(f"https://{host}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            address = (str(where.hostname), where.port or 443)
            with socket.create_connection(address, self.limits.connect) as plain:
                with context.wrap_socket(plain):
                    return True
        except OSError:
            return False

    def _manager(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_for(url, self._env)
        with self._lock:
            if proxy not in self._managers:
                self._managers[proxy] = self._make_manager(proxy)
            if self._context is None and url.startswith("https:"):
                self._context = ssl.create_default_context()
                for manager in self._managers.values():
                    manager.connection_pool_kw["ssl_context"] = self._context
            return self._managers[proxy]

    def _make_manager(self, proxy: str) -> urllib3.PoolManager:
        more: dict[str, Any] = {"maxsize": self._size, "blocksize": BLOCK}
        if self._context is not None:
            more["ssl_context"] = self._context
        if not proxy:
            manager = urllib3.PoolManager(**more)
        else:
            auth = urlsplit(proxy)
            named = f"{auth.username}:{auth.password or ''}" if auth.username else None
            bare = auth._replace(netloc=auth.netloc.rpartition("@")[2]).geturl()
            proxied = urllib3.make_headers(proxy_basic_auth=named) if named else None
            manager = urllib3.ProxyManager(bare, proxy_headers=proxied, **more)
        manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        return manager
