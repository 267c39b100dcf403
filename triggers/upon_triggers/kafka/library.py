"""The one door to kafka-python: imported on first use, configured from a connection, its errors named in our words."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from upon import MissingExtra
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import SourceError

# The mock cluster of librdkafka speaks no newer protocol well.
EMBEDDED_API = (2, 1)
REQUEST_TIMEOUT_MS = 10_000


@cache
def library() -> Any:
    """The package `kafka`. Raises MissingExtra."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it emits hundreds of them when imported
            import kafka
            import kafka.admin
            import kafka.errors
            import kafka.net.compat
            import kafka.structs
            from kafka.net.inet import KafkaNetSocket
    except ImportError:
        raise MissingExtra("Kafka", "kafka") from None
    _close_failed_dials(KafkaNetSocket)
    return kafka


def _close_failed_dials(dialler: Any) -> None:
    """kafka-python leaves the socket of a failed dial to the garbage collector: two a second during an outage."""
    connect = dialler.sock_connect

    async def sock_connect(self: Any, net: Any, sock: Any, *where: Any, **limits: Any) -> Any:
        try:
            return await connect(self, net, sock, *where, **limits)
        except BaseException:
            sock.close()
            raise

    dialler.sock_connect = sock_connect


def client_settings(connection: KafkaConnection, client_id: str) -> dict[str, Any]:
    """What consumer, producer and admin client have in common."""
    settings: dict[str, Any] = {
        "bootstrap_servers": list(connection.bootstrap),
        "client_id": client_id,
        "reconnect_backoff_max_ms": 500,  # the default of 30 s keeps a source waiting long after an outage
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "security_protocol": _protocol(connection),
    }
    if connection.embedded:
        settings["api_version"] = EMBEDDED_API
    if connection.sasl is not None:
        settings |= {
            "sasl_mechanism": connection.sasl.mechanism,
            "sasl_plain_username": connection.sasl.username,
            "sasl_plain_password": connection.sasl.password,
        }
    if connection.tls is not None:
        settings |= _tls(connection)
    return settings


def construct(make: Callable[..., Any], connection: KafkaConnection, settings: dict[str, Any]) -> Any:
    """A client of kafka-python. Raises SourceError when no broker answers within settings["bootstrap_timeout_ms"].

    A constructor that gives up leaves its I/O thread and its sockets behind: they are closed here.
    """
    kafka: Any = library()
    opened: list[Any] = []

    def open_client(**options: Any) -> Any:
        opened.append(kafka.net.compat.KafkaNetClient(**options))
        return opened[-1]

    try:
        return make(**settings, kafka_client=open_client)
    except kafka.errors.KafkaError as error:
        for client in opened:
            client.close()
        raise unreachable(connection, error) from None


def _protocol(connection: KafkaConnection) -> str:
    plain = "SASL_PLAINTEXT" if connection.sasl is not None else "PLAINTEXT"
    return plain if connection.tls is None else plain.replace("PLAINTEXT", "SSL")


def _tls(connection: KafkaConnection) -> dict[str, Any]:
    import ssl

    tls = connection.tls
    assert tls is not None
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        raise SourceError(f"kafka.tls can't be used: {error}") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return {"ssl_context": context, "ssl_check_hostname": tls.verify}


def unreachable(connection: KafkaConnection, cause: BaseException) -> SourceError:
    """No broker answers, or none lets us in."""
    address = ",".join(connection.bootstrap)
    kafka = library()
    if isinstance(cause, (kafka.errors.SaslAuthenticationFailedError, kafka.errors.AuthorizationError)):
        return SourceError(f"the Kafka broker at {address!r} refuses us: {cause}; check kafka.sasl and kafka.tls")
    return SourceError(f"no Kafka broker answers at {address!r}: start it, or correct kafka.bootstrap ({cause})")
