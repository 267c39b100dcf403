"""One service and one HTTP server in this process, from the first signal handler to the exit status."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from upon_runtime import process
from upon_runtime.http import Server, create_app
from upon_runtime.http.server import RESERVE
from upon_runtime.observe import Observer
from upon_runtime.service import Service
from upon_runtime.sources import KafkaClients, make_sources, written_topics
from upon_runtime.spec import ServiceSpec


def host(
    spec: ServiceSpec,
    address: tuple[str, int],
    *,
    sources: bool,
    drain_delay: float,
    on_ready: Callable[[Service, str], None],
    on_drain: Callable[[], None] = lambda: None,
    observers: Sequence[Observer] = (),
    logged: bool = True,
) -> int:
    """Serve until a signal and drain; the exit status. on_ready gets the service and its URL.

    sources: whether records and ticks are read here. drain_delay: seconds. The port is taken first: a port in use is
    the cheapest fault to find. Raises ServerError, SourceError, ModelError, and what resources raise.
    """
    with KafkaClients(spec.kafka) as kafka, process.Signals() as signals:
        service = Service(
            spec,
            observers=observers,
            publisher=kafka.publisher,
            make_sources=(lambda service: make_sources(service, kafka)) if sources else None,
            logged=logged,
        )
        server = Server(create_app(service), *address, threads=spec.admission + RESERVE)
        try:
            server.start()  # before the models: probes are answered, with 503, while they open
            service.open()
            if sources:
                kafka.ensure_topics(written_topics(spec))
                service.start_sources()
        except BaseException:
            server.stop(1.0)
            service.close(1.0)
            raise
        on_ready(service, server.url)
        signals.stop.wait()
        on_drain()
        return process.drain(service, server, delay=drain_delay, timeout=spec.drain_timeout)
