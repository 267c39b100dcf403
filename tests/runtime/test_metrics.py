"""The page at /metrics."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from upon import Event
from upon._outcome import DONE, Done, Failed
from upon_runtime.metrics import Metrics


def read(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    content_type, page = metrics.render()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_events_are_counted_by_function_and_outcome() -> None:
    metrics = Metrics()
    metrics.finished("f", [Event.of(), Event.of()], [DONE, Failed("invalid", "x")], 0.002)
    metrics.finished("f", [Event.of()], [DONE], 0.002)
    metrics.refused("malformed")
    metrics.late("f", Event.of(), 1.0)
    values = read(metrics)
    assert 2 == values["upon_events_total", ("f", "done")]
    assert 1 == values["upon_events_total", ("f", "invalid")]
    assert 1 == values["upon_events_total", ("", "malformed")]
    assert 1 == values["upon_handler_late_total", ("f",)]
    assert 2 == values["upon_handler_seconds_count", ("f",)]
    assert 2 == values["upon_handler_seconds_bucket", ("f", "0.0025")]


def test_many_calls_at_once_count_as_the_calls_themselves() -> None:
    one_by_one, at_once = Metrics(), Metrics()
    seconds = [0.0, 0.0005, 0.0006, 0.002, 0.002, 90.0]
    outcomes = [DONE, DONE, Done(Event.of(1)), Failed("error", "x"), DONE, Failed("retry", "x")]
    for outcome, took in zip(outcomes, seconds, strict=True):
        one_by_one.finished("f", [Event.of()], [outcome], took)
    at_once.finished_each("f", [Event.of()] * 6, outcomes, seconds)
    assert read(one_by_one) == read(at_once)
    assert 6 == read(at_once)["upon_handler_seconds_count", ("f",)]


def test_batch_sizes_are_a_histogram() -> None:
    metrics = Metrics()
    for rows in (1, 8, 8, 64):
        metrics.inference("m", rows, 0.001)
    values = read(metrics)
    assert 1 == values["upon_inference_batch_size_bucket", ("1.0", "m")]
    assert 3 == values["upon_inference_batch_size_bucket", ("8.0", "m")]
    assert 81 == values["upon_inference_batch_size_sum", ("m",)]
    assert 4 == values["upon_inference_seconds_count", ("m",)]


def test_sources_are_read_when_somebody_looks() -> None:
    metrics = Metrics()
    state = {"connected": True, "in_flight": 3, "note": "text is left out"}
    metrics.watch(lambda: {"kafka a -> f": state})
    assert 1 == read(metrics)["upon_source_connected", ("kafka a -> f",)]
    state["connected"] = False
    assert 0 == read(metrics)["upon_source_connected", ("kafka a -> f",)]
    assert 3 == read(metrics)["upon_source_in_flight", ("kafka a -> f",)]
