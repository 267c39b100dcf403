"""A trigger host's parts: what its observers are told, what it refuses, and what its probes say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import upon
from support.services import spec_of
from support.sinks import DirectSink
from upon import Event, Failed, Outcome, UsageError
from upon._outcome import DONE
from upon_runtime.sources import KafkaClients
from upon_runtime.spec import FunctionSpec
from upon_runtime.trigger_host import ObservedSink, TriggerService, check_guarantees
from upon_triggers.http_sink import HttpSink
from upon_triggers.settings import Delivery


class Told:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str], list[str]]] = []

    def finished(
        self, function: str, events: Sequence[Event[Any]], outcomes: Sequence[Outcome], seconds: float
    ) -> None:
        assert seconds >= 0
        self.calls.append((function, [event.id for event in events], [outcome.kind for outcome in outcomes]))

    def late(self, function: str, event: Event[Any], timeout: float) -> None:
        """Nothing is late here."""


def handler(event: Event[Any]) -> Outcome | None:
    return Failed("rejected", "no") if event.id == "2" else None


def events(count: int) -> list[Event[Any]]:
    return [Event.of(id=str(n)) for n in range(count)]


def observed() -> tuple[ObservedSink, Told]:
    told = Told()
    return ObservedSink(DirectSink(handler), told), told


def test_a_run_is_told_once_up_to_its_failure() -> None:
    sink, told = observed()
    came: list[tuple[int, str]] = []
    sink.submit_run(events(5), lambda index, outcome: came.append((index, outcome.kind)), function="f")
    assert [(0, "done"), (1, "done"), (2, "rejected")] == came
    assert [("f", ["0", "1", "2"], ["done", "done", "rejected"])] == told.calls


def test_a_run_without_failure_is_told_at_its_end() -> None:
    sink, told = observed()
    sink.submit_run(events(2), lambda index, outcome: None, function="f")
    assert [("f", ["0", "1"], ["done", "done"])] == told.calls


def test_single_events_and_batches_are_told() -> None:
    sink, told = observed()
    came: list[Any] = []
    sink.submit(events(1)[0], came.append, function="f")
    sink.submit_batch(events(3), came.append, function="g")
    assert DONE == sink.deliver(events(1)[0], function="f")
    assert [DONE, [DONE, DONE, Failed("rejected", "no")]] == came
    one = ("f", ["0"], ["done"])
    assert [one, ("g", ["0", "1", "2"], ["done", "done", "rejected"]), one] == told.calls


@upon.kafka("orders")
def order(event: Event) -> None: ...


@upon.cron("0 3 * * *")
def nightly(event: Event) -> None: ...


def test_exactly_once_is_refused_for_records_alone() -> None:
    exactly = Delivery(guarantee="exactly-once")
    check_guarantees(spec_of(functions=(FunctionSpec(nightly, delivery=exactly), FunctionSpec(order))))
    with pytest.raises(UsageError, match=r"order has delivery\.guarantee: exactly-once"):
        check_guarantees(spec_of(functions=(FunctionSpec(order, delivery=exactly),)))


def test_the_sink_stands_among_the_sources() -> None:
    sink = HttpSink("http://127.0.0.1:9")
    service = TriggerService(spec_of(nightly), sink, KafkaClients(None), logged=False)
    service.open()
    assert ["nightly"] == service.health()["functions"]
    assert {"cron 0 3 * * * -> nightly", "sink http://127.0.0.1:9"} == set(service.source_states())
    assert service.source_states()["sink http://127.0.0.1:9"]["connected"] is True
    assert "draining" == sink.deliver(events(1)[0], function="nightly").kind
    assert service.source_states()["sink http://127.0.0.1:9"]["connected"] is False
    assert "refused" in service.health()["sink"]["error"]
    _, page = service.metrics.render()
    assert b'upon_source_connected{source="sink http://127.0.0.1:9"} 0.0' in page
    assert service.close(5)
    assert sink.close(5)
