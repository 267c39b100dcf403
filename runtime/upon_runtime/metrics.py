"""Prometheus metrics of one service. Looking a label up is what costs, so the children are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from upon import Event, MissingExtra
from upon._outcome import Outcome

try:
    from prometheus_client import CollectorRegistry, Counter, Histogram
    from prometheus_client.core import GaugeMetricFamily, Metric
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
    from prometheus_client.registry import Collector
except ImportError:
    raise MissingExtra("the runtime", "serve") from None

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# name of the gauge, its help, and the key in Source.state()
SOURCE_GAUGES = (
    ("upon_source_connected", "1 while the source reaches its origin", "connected"),
    ("upon_source_in_flight", "events taken and not finished", "in_flight"),
    ("upon_source_lag", "records behind the end of the topic", "lag"),
    ("upon_source_retrying", "events waiting for another try", "retrying"),
    ("upon_source_dead_letters", "events written to a dead letter since the start", "dead_letters"),
)


class Metrics:
    """An observer of the dispatcher, and the page at /metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._events = Counter(
            "upon_events", "Events by function and outcome", ("function", "outcome"), registry=self.registry
        )
        self._seconds = Histogram(
            "upon_handler_seconds", "Time in the handler", ("function",), buckets=SECONDS, registry=self.registry
        )
        self._late = Counter(
            "upon_handler_late", "Handlers that ran past their timeout", ("function",), registry=self.registry
        )
        self._rows = Histogram(
            "upon_inference_batch_size", "Rows of one model run", ("model",), buckets=ROWS, registry=self.registry
        )
        self._runs = Histogram(
            "upon_inference_seconds", "Time of one model run", ("model",), buckets=SECONDS, registry=self.registry
        )
        self._outcome_children: dict[tuple[str, str], Counter] = {}
        self._function_children: dict[str, Histogram] = {}
        self._model_children: dict[str, tuple[Histogram, Histogram]] = {}

    def finished(
        self, function: str, events: Sequence[Event[Any]], outcomes: Sequence[Outcome], seconds: float
    ) -> None:
        for outcome in outcomes:
            key = (function, outcome.kind)
            counter = self._outcome_children.get(key)
            if counter is None:
                counter = self._outcome_children[key] = self._events.labels(*key)
            counter.inc()
        histogram = self._function_children.get(function)
        if histogram is None:
            histogram = self._function_children[function] = self._seconds.labels(function)
        histogram.observe(seconds)

    def late(self, function: str, event: Event[Any], timeout: float) -> None:
        self._late.labels(function).inc()

    def refused(self, kind: str) -> None:
        """An event that no function saw: malformed, unsubscribed, over the admission limit."""
        key = ("", kind)
        counter = self._outcome_children.get(key)
        if counter is None:
            counter = self._outcome_children[key] = self._events.labels(*key)
        counter.inc()

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

    def render(self) -> tuple[str, bytes]:
        """(content type, page)."""
        return CONTENT_TYPE_LATEST, generate_latest(self.registry)


class _Sources(Collector):
    def __init__(self, states: Callable[[], dict[str, dict[str, Any]]]) -> None:
        self._states = states

    def collect(self) -> Iterable[Metric]:
        states = self._states()
        for name, text, key in SOURCE_GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=("source",))
            for source, state in states.items():
                if isinstance(state.get(key), (bool, int, float)):
                    gauge.add_metric((source,), float(state[key]))
            yield gauge
