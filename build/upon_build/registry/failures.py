"""urllib3's errors as ours: what happened and the remedy, without the URL, which may hold a secret."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from upon import MissingExtra
from upon_build.registry.errors import RegistryError, RegistryUnavailable

try:
    from urllib3 import exceptions as errors
except ImportError:
    raise MissingExtra("a registry", "deploy") from None

HTTPError = errors.HTTPError
REMEDY = "check the name, the network and the proxy's variables, then run the command again"


class Transient(Exception):
    """No whole answer, or one that says: later. error: what to tell when patience is over; wish: seconds."""

    def __init__(self, error: RegistryError, wish: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wish = wish


def cut_off(host: str, fact: str) -> Transient:
    """A connection that ended too early, or has to."""
    return Transient(RegistryUnavailable(f"{host} {fact}: {REMEDY}"))


def host_of(url: str) -> str:
    """Host and port: all of an URL that may be told."""
    return urlsplit(url).netloc.rpartition("@")[2]


def failure(error: Exception, host: str) -> Transient | RegistryError:
    """What urllib3's error comes to: Transient where another try may help."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return RegistryUnavailable(_untrusted(host, cause))
    if any("WRONG_VERSION_NUMBER" in str(cause) or "RECORD_LAYER_FAILURE" in str(cause) for cause in causes):
        return RegistryUnavailable(
            f"{host} does not speak TLS: put TLS before it (plain http is for registries on this machine alone)"
        )
    if isinstance(error, (errors.LocationParseError, errors.LocationValueError, UnicodeError)):
        return RegistryError(f"{host!r} is no address: mend the image's name")
    return cut_off(host, _reason(error, causes))


def _untrusted(host: str, error: ssl.SSLCertVerificationError) -> str:
    file = os.environ.get("SSL_CERT_FILE")
    missing = f" ({file!r}, which it names now, is not there)" if file and not Path(file).is_file() else ""
    return (
        f"the certificate of {host} is not trusted ({error.verify_message.rstrip('.')}): name the file of its"
        f" certificate authority in SSL_CERT_FILE{missing}"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, outermost first."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return
        yield seen
        inner = [argument for argument in seen.args if isinstance(argument, BaseException)]
        seen = seen.__cause__ or seen.__context__ or (inner[0] if inner else None)


def _reason(error: Exception, causes: list[BaseException]) -> str:
    """What happened, without urllib3's words, which repeat the URL."""
    match error:
        case errors.ProxyError():
            return "can't be reached through the proxy"
        case errors.NameResolutionError():
            return "is no name that can be resolved"
        case errors.NewConnectionError():  # a ConnectTimeoutError, by name
            return f"can't be connected to ({_system_words(causes, 'no connection')})"
        case errors.ConnectTimeoutError():
            return "can't be connected to in time"
        case errors.ReadTimeoutError():
            return "did not answer in time"
        case errors.SSLError():
            return "broke the TLS connection off"
    return f"broke the connection off ({_system_words(causes, 'no whole answer')})"


def _system_words(causes: list[BaseException], otherwise: str) -> str:
    said = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    return said[-1].lower() if said else otherwise
