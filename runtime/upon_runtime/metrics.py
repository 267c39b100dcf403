"""Prometheus metrics of one service. Looking a label up is what costs, so the children are kept."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter as Counted
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

from upon import Event, MissingExtra
from upon._outcome import Outcome, all_plain

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
    from prometheus_client.registry import Collector
    from prometheus_client.utils import floatToGoString
except ImportError:
    raise MissingExtra("the runtime", "serve") from None

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SHORTEST = SECONDS[0]

_BOUNDS = (*map(floatToGoString, SECONDS), "+Inf")

# name of the gauge, its help, and the key in Source.state()
SOURCE_GAUGES = (
    ("upon_source_connected", "1 while the source reaches its origin", "connected"),
    ("upon_source_in_flight", "events taken and not finished", "in_flight"),
    ("upon_source_lag", "records behind the end of the topic", "lag"),
    ("upon_source_retrying", "events waiting for another try", "retrying"),
    ("upon_source_dead_letters", "events written to a dead letter since the start", "dead_letters"),
    ("upon_source_skipped", "skipped ticks; records finished before, or replayed for another group", "skipped"),
    ("upon_source_suspicion", "0, or the level at which a record is searched that kills the process", "suspicion"),
    ("upon_source_notes_bytes", "the largest metadata of a committed offset, of 4096", "notes_size"),
    ("upon_source_leader", "1 where this process fires the schedule", "leader"),
    ("upon_source_gaps", "times that ticks of the schedule were missed since the start", "gaps"),
    ("upon_source_next_timestamp_seconds", "when the next tick is scheduled", "next"),
    ("upon_source_last_fired_timestamp_seconds", "the tick that came due last, in any process", "last_fired"),
)


class Metrics:
    """An observer of the dispatcher, and the page at /metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._handled = _Handled()
        self.registry.register(self._handled)
        self._late = Counter(
            "upon_handler_late", "Handlers that ran past their timeout", ("function",), registry=self.registry
        )
        self._rows = Histogram(
            "upon_inference_batch_size", "Rows of one model run", ("model",), buckets=ROWS, registry=self.registry
        )
        self._runs = Histogram(
            "upon_inference_seconds", "Time of one model run", ("model",), buckets=SECONDS, registry=self.registry
        )
        self._repeated = Counter(
            "upon_events_repeated",
            "Events that an idempotent function had handled before",
            ("function",),
            registry=self.registry,
        )
        self._model_children: dict[str, tuple[Histogram, Histogram]] = {}

    def finished(
        self, function: str, events: Sequence[Event[Any]], outcomes: Sequence[Outcome], seconds: float
    ) -> None:
        self._handled.add(function, outcomes, seconds)

    def finished_each(
        self, function: str, events: Sequence[Event[Any]], outcomes: Sequence[Outcome], seconds: Sequence[float]
    ) -> None:
        self._handled.add_each(function, outcomes, seconds)

    def late(self, function: str, event: Event[Any], timeout: float) -> None:
        self._late.labels(function).inc()

    def refused(self, kind: str) -> None:
        """An event that no function saw: malformed, unsubscribed, over the admission limit."""
        self._handled.count("", kind)

    def repeated(self, function: str) -> None:
        self._repeated.labels(function).inc()

    def inference(self, model: str, rows: int, seconds: float) -> None:
        """One run of a model's session."""
        children = self._model_children.get(model)
        if children is None:
            children = self._model_children[model] = (self._rows.labels(model), self._runs.labels(model))
        children[0].observe(rows)
        children[1].observe(seconds)

    def watch(self, states: Callable[[], dict[str, dict[str, Any]]]) -> None:
        """Sources' states by name become gauges, read when somebody looks."""
        self.registry.register(_Sources(states))

    def watch_store(self, state: Callable[[], dict[str, Any]]) -> None:
        """What idempotent functions need."""
        gauge = Gauge(
            "upon_idempotency_connected",
            "1 while the store of handled events can be reached",
            ("store",),
            registry=self.registry,
        )
        gauge.labels(state()["store"]).set_function(lambda: float(state()["connected"]))

    def render(self) -> tuple[str, bytes]:
        """(content type, page)."""
        return CONTENT_TYPE_LATEST, generate_latest(self.registry)


class _Handled(Collector):
    """Events by outcome and time in the handler, under one lock: the client's own children cost six times that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: dict[tuple[str, str], int] = {}
        self._calls: dict[str, list[int]] = {}  # per function: calls by bucket, the last one is over all bounds
        self._seconds: dict[str, float] = {}

    def add(self, function: str, outcomes: Sequence[Outcome], seconds: float) -> None:
        """One call."""
        bucket = bisect_left(SECONDS, seconds)
        with self._lock:
            self._count(function, outcomes)
            calls = self._calls.get(function)
            if calls is None:
                calls = self._calls[function] = [0] * (len(SECONDS) + 1)
            calls[bucket] += 1
            self._seconds[function] = self._seconds.get(function, 0.0) + seconds

    def add_each(self, function: str, outcomes: Sequence[Outcome], seconds: Sequence[float]) -> None:
        """Many calls of one event each."""
        buckets = Counted(bisect_left(SECONDS, took) for took in seconds if took > SHORTEST)
        buckets[0] += len(seconds) - buckets.total()
        with self._lock:
            self._count(function, outcomes)
            calls = self._calls.setdefault(function, [0] * (len(SECONDS) + 1))
            for bucket, number in buckets.items():
                calls[bucket] += number
            self._seconds[function] = self._seconds.get(function, 0.0) + sum(seconds)

    def _count(self, function: str, outcomes: Sequence[Outcome]) -> None:
        counted = self._outcomes
        if all_plain(outcomes):
            counted[function, "done"] = counted.get((function, "done"), 0) + len(outcomes)
            return
        for outcome in outcomes:
            key = (function, outcome.kind)
            counted[key] = counted.get(key, 0) + 1

    def count(self, function: str, kind: str) -> None:
        with self._lock:
            self._outcomes[function, kind] = self._outcomes.get((function, kind), 0) + 1

    def collect(self) -> Iterable[Metric]:
        events = CounterMetricFamily("upon_events", "Events by function and outcome", labels=("function", "outcome"))
        times = HistogramMetricFamily("upon_handler_seconds", "Time in the handler", labels=("function",))
        with self._lock:
            for key, number in self._outcomes.items():
                events.add_metric(key, number)
            for function, calls in self._calls.items():
                bounds = (*map(floatToGoString, SECONDS), "+Inf")
                times.add_metric(
                    (function,), list(zip(bounds, accumulate(calls), strict=True)), self._seconds[function]
                )
        return (events, times)


class _Sources(Collector):
    def __init__(self, states: Callable[[], dict[str, dict[str, Any]]]) -> None:
        self._states = states

    def collect(self) -> Iterable[Metric]:
        states = self._states()
        for name, text, key in SOURCE_GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=("source",))
            for source, state in states.items():
                value = state.get(key)
                if isinstance(value, str):  # a time
                    value = datetime.fromisoformat(value).timestamp()
                if isinstance(value, (bool, int, float)):
                    gauge.add_metric((source,), float(value))
            yield gauge
