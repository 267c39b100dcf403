"""Summaries of events: few lines for many records, and every failure's reason."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from upon import Event
from upon._event import HttpInfo, KafkaInfo
from upon._outcome import DONE, Done, Failed
from upon_build.cli.activity import MAX_KEYS, MAX_REASONS, Activity, Key, Summary, describe, key_of


def record(offset: int, partition: int = 0, topic: str = "uploads") -> Event[object]:
    attributes = {"specversion": "1.0", "id": f"{partition}/{offset}", "source": "/k", "type": "t"}
    return Event._trusted(attributes, b"1", kafka=KafkaInfo(topic, partition, offset))


def test_ten_thousand_records_make_few_summaries_and_lose_none() -> None:
    summaries: list[Summary] = []
    activity = Activity(summaries.append, interval=0.2)
    began = datetime.now(UTC)

    for offset in range(10_000):
        activity.finished("classify", [record(offset)], [DONE], 0.001)
    activity.close()

    took = (datetime.now(UTC) - began).total_seconds()
    assert sum(summary.done for summary in summaries) == 10_000
    assert len(summaries) <= 3 + took / 0.2


def test_the_first_event_is_told_without_waiting_for_more() -> None:
    told = threading.Event()
    activity = Activity(lambda _: told.set(), interval=60)

    activity.finished("classify", [record(0)], [DONE], 0.001)

    assert told.wait(5)
    activity.close()


def test_a_summary_counts_offsets_by_partition() -> None:
    summary = Summary(Key("kafka", "classify", "uploads"))

    summary.add([record(4), record(3), record(0, partition=2)], [DONE, DONE, Done(Event.of(1))], 0.5)
    summary.add([record(9)], [DONE], 0.1)

    assert summary.partitions == {0: [3, 9, 3], 2: [0, 0, 1]}
    assert (summary.calls, summary.events, summary.done, summary.replies) == (2, 4, 4, 1)
    assert summary.seconds == 0.5


def test_failures_are_told_by_reason_and_the_rest_counted() -> None:
    summary = Summary(Key("kafka", "classify", "uploads"))

    summary.add([record(7), record(8)], [Failed("rejected", "bad")] * 2, 0.1)
    summary.add([record(9)], [Failed("overloaded", "full")], 0.1)
    for offset in range(MAX_REASONS + 2):
        summary.add([record(offset)], [Failed("error", f"ValueError: {offset}")], 0.1)

    first = summary.failures["rejected", "bad"]
    assert (first.count, first.what) == (2, "uploads[0] 7")
    assert len(summary.failures) == MAX_REASONS
    assert summary.more_failures == 3
    assert summary.busy == 1


def test_many_event_types_share_a_summary() -> None:
    gate, summaries = threading.Event(), list[Summary]()

    def emit(summary: Summary) -> None:
        gate.wait(5)
        summaries.append(summary)

    activity = Activity(emit, interval=60)
    for index in range(500):
        activity.finished("classify", [Event.of(1, type=f"t{index}")], [DONE], 0.1)
    gate.set()
    activity.close()

    assert sum(summary.done for summary in summaries) == 500
    assert len(summaries) <= 2 * MAX_KEYS + 2


def test_paths_with_parameters_are_one_route() -> None:
    events = [
        Event._trusted(
            {"specversion": "1.0", "id": "1", "source": "/demo/users/{id}", "type": "upon.http.request"},
            None,
            http=HttpInfo("GET", f"/users/{number}"),
        )
        for number in (1, 2)
    ]

    assert {key_of("show", event) for event in events} == {Key("http", "show", "GET /users/{id}")}


def test_a_tick_is_named_by_its_scheduled_time() -> None:
    tick = Event.of(type="dev.knative.sources.ping", time="2030-01-01T03:05:00Z")

    assert describe(tick) == "tick 2030-01-01 03:05:00Z"
