"""One service and one HTTP server in this process: what `func run` and `func serve` have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from upon_build.cli.sources import Kafka, make_sources
from upon_runtime import process
from upon_runtime.http import Server, create_app
from upon_runtime.http.server import RESERVE
from upon_runtime.observe import Observer
from upon_runtime.service import Service
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
    """Serve until a signal and drain; the exit code. on_ready gets the service and its URL.

    sources: whether records and ticks are read here. drain_delay: seconds. The port is taken first: a port in use is
    the cheapest fault to find. Raises ServerError, SourceError, ModelError, and what resources raise.
    """
    with Kafka(spec.kafka) as kafka:
        service = Service(
            spec,
            observers=observers,
            publisher=kafka.publisher,
            make_sources=(lambda service: make_sources(service, kafka)) if sources else None,
            logged=logged,
        )
        with process.Signals() as signals:
            server = Server(create_app(service), *address, threads=spec.admission + RESERVE)
            try:
                if sources:
                    kafka.open()
                service.open()
                return process.run(
                    service,
                    server,
                    signals,
                    on_ready=lambda: on_ready(service, server.url),
                    on_drain=on_drain,
                    drain_delay=drain_delay,
                    drain_timeout=spec.drain_timeout,
                )
            except BaseException:
                server.stop(1.0)
                service.close(1.0)
                raise
