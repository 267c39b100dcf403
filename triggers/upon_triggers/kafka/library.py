"""The one door to kafka-python: imported on first use, configured from a connection, its errors named in our words."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from upon import MissingExtra
from upon_triggers.kafka.lenient import read_any_header
from upon_triggers.kafka.refusals import Refusal, explain
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
            from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport
            from kafka.record.default_records import DefaultRecordBatch
    except ImportError:
        raise MissingExtra("Kafka", "kafka") from None
    _close_failed_dials(KafkaNetSocket)
    _close_failed_handshakes(KafkaSSLTransport)
    for transport in (KafkaTCPTransport, KafkaSSLTransport):
        _hear_last_words(transport)
    read_any_header(DefaultRecordBatch)
    from upon_triggers.kafka.appending import write_quickly

    write_quickly()
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


def _close_failed_handshakes(transport: Any) -> None:
    """The same for TLS."""
    handshake = transport.handshake

    async def closing(self: Any) -> None:
        try:
            await handshake(self)
        except BaseException:
            self._sock.close()
            raise

    transport.handshake = closing


def _hear_last_words(transport: Any) -> None:
    """kafka-python drops what came right before the end of a connection: where TLS or HTTP is spoken, all there is."""
    receive = transport._sock_recv

    def receive_first(self: Any) -> tuple[bytes, Any]:
        data, error = receive(self)
        return data, None if data else error  # the end is found again at the next call

    transport._sock_recv = receive_first


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
    """A client of kafka-python. Raises SourceError when no broker lets it in within settings["bootstrap_timeout_ms"].

    A constructor that gives up leaves its I/O thread and its sockets behind: they are closed here.
    """
    kafka: Any = library()
    opened: list[Any] = []

    def open_client(**options: Any) -> Any:
        from kafka.net.selector import NetworkSelector

        net = NetworkSelector(**options)
        manager = _watching_manager()(net, connection, **options)
        opened.append(kafka.net.compat.KafkaNetClient(net=net, manager=manager, **options))
        return opened[-1]

    try:
        return make(**settings, kafka_client=open_client)
    except kafka.errors.KafkaError as error:
        refusal = next((client._manager.refusal for client in opened), None)
        for client in opened:
            client.close()
        raise SourceError(refusal) if refusal else unreachable(connection, error) from None


def close_producer(producer: Any, timeout: float) -> None:
    """Its own close gives up, threads and all, when what it holds can't be flushed within `timeout` seconds."""
    try:
        producer.close(timeout=timeout)
    except library().errors.KafkaError:
        producer._sender.force_close()
        producer._closed = True  # else the garbage collector tries again


@cache
def _watching_manager() -> Any:
    """kafka-python's manager of connections, made to remember why brokers refuse us: it only writes that to a log.

    And to close every socket: kafka-python's own end waits, without a loop to do it, for what was not sent yet.
    """
    import kafka.net.manager

    base: Any = kafka.net.manager.KafkaConnectionManager

    class WatchingManager(base):  # type: ignore[misc]
        def __init__(self, net: Any, connection: KafkaConnection, **options: Any) -> None:
            self.refusals: dict[Any, Refusal] = {}
            self._connection = connection
            super().__init__(net, **options)

        def close(self, node_id: Any = None, *args: Any, **options: Any) -> None:
            transports = [connection.transport for connection in list(self._conns.values())]
            super().close(node_id, *args, **options)
            if node_id is None:
                for transport in transports:
                    if transport is not None:
                        transport._write_buffer.clear()
                        transport._close()

        @property
        def refusal(self) -> str | None:
            """Why no broker lets us in, as far as is known; None while all is well."""
            found = sorted(self.refusals.values(), key=lambda refusal: (not refusal.final, not refusal.telling))
            return found[0].message if found else None

        async def _connect(self, node: Any, conn: Any, *args: Any, **options: Any) -> None:
            conn.init_future.add_callback(lambda _: self.refusals.pop(node.node_id, None))
            conn.close_future.add_errback(lambda error: self._refused(node, conn, error))
            await super()._connect(node, conn, *args, **options)
            self._give_up_at_start()

        def _refused(self, node: Any, conn: Any, error: BaseException) -> None:
            if self.closed:
                return
            greeted = conn.broker_version_data is not None
            refusal = explain(self._connection, f"{node.host}:{node.port}", error, greeted=greeted)
            known = self.refusals.get(node.node_id)
            if known is None or refusal.telling or not known.telling:
                self.refusals[node.node_id] = refusal

        def _give_up_at_start(self) -> None:
            """Nothing is gained by waiting for the deadline where every address refuses us for good."""
            addresses = [broker.node_id for broker in self.cluster.bootstrap_brokers()]
            found = [self.refusals.get(address) for address in addresses]
            if not self.bootstrapped and all(refusal is not None and refusal.final for refusal in found):
                error = library().errors.KafkaConnectionError(self.refusal)
                self._auth_failures.update(dict.fromkeys(addresses, error))

    return WatchingManager


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
    """No broker answers, and nothing more is known."""
    address = ",".join(connection.bootstrap)
    return SourceError(f"no Kafka broker answers at {address!r}: start it, or correct kafka.bootstrap ({cause})")
