"""The sources of a service without the service: Kafka and cron here, the functions behind a URL."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from upon import Event, Failed, Outcome, UsageError
from upon._engine import Publisher
from upon._sink import OnBatch, OnDone, OnItem, Sink
from upon._triggers import KafkaTrigger
from upon_runtime import process
from upon_runtime.http import Server, create_app
from upon_runtime.http.server import RESERVE
from upon_runtime.observe import Observer
from upon_runtime.service import Service
from upon_runtime.sources import KafkaClients, make_sources, written_topics
from upon_runtime.spec import ServiceSpec
from upon_triggers.http_sink import HttpSink

PROBES = 8  # requests at once: nobody sends events here


class Feed(NamedTuple):
    """What sources are given in place of a Service."""

    spec: ServiceSpec
    sink: Sink
    publisher: Publisher | None


class TriggerService(Service):
    """A Service with sources and without functions: probes, metrics, and a life in the same order."""

    def __init__(self, spec: ServiceSpec, sink: HttpSink, kafka: KafkaClients, **given: Any) -> None:
        self._remote = sink
        self._names = sorted(function.name for function in spec.functions)
        bare = replace(spec, functions=(), models=(), topics=(), resources=(), blueprints=(), admission=PROBES)

        def make(service: Service) -> Sequence[Any]:
            return make_sources(Feed(spec, ObservedSink(sink, service.observer), kafka.publisher), kafka)

        super().__init__(bare, publisher=kafka.publisher, make_sources=make, **given)

    def health(self) -> dict[str, Any]:
        return {**super().health(), "functions": self._names, "sink": self._remote.reach.state()}

    def source_states(self) -> dict[str, dict[str, Any]]:
        """The sink is among them, so that the gauges of sources show whether it is reached."""
        reach = self._remote.reach
        sink = {"connected": reach.busy_since is None, "in_flight": self._remote.in_flight, "error": reach.error}
        return {**super().source_states(), f"sink {self._remote.url}": sink}


def run_triggers(
    spec: ServiceSpec,
    sink: HttpSink,
    address: tuple[str, int],
    *,
    on_ready: Callable[[Service, str], None],
    on_drain: Callable[[], None] = lambda: None,
    observers: Sequence[Observer] = (),
    logged: bool = True,
) -> int:
    """Feed the sink until a signal and drain; the exit status. The service need not be there yet.

    address: of the probes and metrics. on_ready gets the service and its URL. Raises UsageError for a guarantee that
    can't be kept from here, ServerError and SourceError.
    """
    check_guarantees(spec)
    with KafkaClients(spec.kafka) as kafka, process.Signals() as signals:
        service = TriggerService(spec, sink, kafka, observers=observers, logged=logged)
        server = Server(create_app(service), *address, threads=PROBES + RESERVE)
        try:
            server.start()
            service.open()
            kafka.ensure_topics(written_topics(replace(spec, topics=())))
            service.start_sources()
        except BaseException:
            server.stop(1.0)
            service.close(1.0)
            sink.close(1.0)
            raise
        on_ready(service, server.url)
        signals.stop.wait()
        on_drain()
        code = process.drain(service, server, delay=0.0, timeout=spec.drain_timeout)
        sink.close(1.0)  # whatever is still under way is delivered again
        return code


def check_guarantees(spec: ServiceSpec) -> None:
    """Raises UsageError for exactly-once."""
    for function in spec.functions:
        reads = any(isinstance(trigger, KafkaTrigger) for trigger in function.function.triggers)
        if reads and function.delivery.guarantee == "exactly-once":
            raise UsageError(
                f"{function.name} has delivery.guarantee: exactly-once, which a trigger host can't keep: what the"
                " function sends to topics in its own process can't join the transaction here; run the sources inside"
                " the service (deploy.triggers: direct), or set at-least-once"
            )


class ObservedSink:
    """Tells an observer what became of what was submitted; a run counts as one call."""

    def __init__(self, sink: Sink, observer: Observer) -> None:
        self._sink = sink
        self._observer = observer

    def submit(self, event: Event[Any], on_done: OnDone, *, function: str | None = None) -> None:
        self.submit_run((event,), lambda _, outcome: on_done(outcome), function=function)

    def submit_run(self, events: Sequence[Event[Any]], on_item: OnItem, *, function: str | None = None) -> None:
        outcomes: list[Outcome] = []
        tell = partial(self._tell, function, events, time.monotonic())

        def item(index: int, outcome: Outcome) -> None:
            outcomes.append(outcome)
            if len(outcomes) == len(events) or isinstance(outcome, Failed):
                tell(outcomes)
            on_item(index, outcome)

        if len(events) == 1:
            self._sink.submit(events[0], partial(item, 0), function=function)
        else:
            self._sink.submit_run(events, item, function=function)

    def submit_batch(self, events: Sequence[Event[Any]], on_batch: OnBatch, *, function: str | None = None) -> None:
        tell = partial(self._tell, function, events, time.monotonic())

        def batch(outcomes: Sequence[Outcome]) -> None:
            tell(outcomes)
            on_batch(outcomes)

        self._sink.submit_batch(events, batch, function=function)

    def deliver(self, event: Event[Any], *, function: str | None = None) -> Outcome:
        began = time.monotonic()
        outcome = self._sink.deliver(event, function=function)
        self._tell(function, (event,), began, (outcome,))
        return outcome

    def _tell(
        self, function: str | None, events: Sequence[Event[Any]], began: float, outcomes: Sequence[Outcome]
    ) -> None:
        self._observer.finished(function or "", events[: len(outcomes)], outcomes, time.monotonic() - began)
