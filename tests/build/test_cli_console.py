"""The lines of `func run`, for people and for scripts."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from upon import Event
from upon._event import KafkaInfo
from upon._outcome import Done, Failed, Outcome, failure_from
from upon_build.cli.activity import Key, Summary
from upon_build.cli.console import Console, JsonReport, TextReport, frames_of, json_writer

REPLIES = {("classify", "uploads"): "uploads.typed"}
REPLY = Done(Event.of({}))


def summary_of(*calls: tuple[list[int], list[Outcome]], key: Key | None = None) -> Summary:
    summary = Summary(key or Key("kafka", "classify", "uploads"))
    for offsets, outcomes in calls:
        attributes = {"specversion": "1.0", "id": "1", "source": "/k", "type": "t"}
        events = [Event._trusted(attributes, None, kafka=KafkaInfo("uploads", 0, offset)) for offset in offsets]
        summary.add(events, outcomes, 0.005)
    return summary


def text_of(summary: Summary) -> list[str]:
    stream = io.StringIO()
    TextReport(Console(stream, clock=lambda: 0), REPLIES)(summary)
    return [line[len("00:00:00  ") :] for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("summary", "lines"),
    [
        (
            summary_of((list(range(12)), [REPLY] * 12)),
            ["kafka  classify  uploads[0] 0-11 (12 records)  done  5 ms → uploads.typed"],
        ),
        (summary_of(([3], [Done()])), ["kafka  classify  uploads[0] 3 (1 record)  done  5 ms"]),
        (
            summary_of(([3], [Failed("rejected", "too old")])),
            ["kafka  classify  uploads[0] 3  rejected  too old"],
        ),
        (
            summary_of(([3, 4], [Failed("invalid", "no")] * 2), ([5], [Failed("overloaded", "full")])),
            ["kafka  classify  uploads[0] 3  invalid  no (2 times)", "kafka  classify  busy: 1 put off"],
        ),
    ],
)
def test_text(summary: Summary, lines: list[str]) -> None:
    assert text_of(summary) == lines


def test_an_error_shows_where_the_handler_raised() -> None:
    def handler() -> None:
        raise ValueError("bad row")

    try:
        handler()
    except ValueError as error:
        lines = text_of(summary_of(([3], [failure_from(error)])))

    assert lines[0] == "kafka  classify  uploads[0] 3  error  ValueError: bad row"
    assert __file__ in lines[-1]
    assert lines[-1].endswith('in handler: raise ValueError("bad row")')


def test_no_frames_of_ours_are_shown() -> None:
    with pytest.raises(ValueError, match="no JSON form") as caught:
        Event.of(object())

    shown = [line.partition(":")[0] for line in frames_of(caught.value)]
    assert shown == [__file__]


def test_json_has_one_object_a_line() -> None:
    stream = io.StringIO()

    JsonReport(json_writer(stream), REPLIES)(summary_of(([0, 1], [REPLY, Failed("rejected", "no")])))

    handled, failed = (json.loads(line) for line in stream.getvalue().splitlines())
    assert without_time(handled) == {
        "event": "handled", "trigger": "kafka", "function": "classify", "where": "uploads", "count": 1, "calls": 1,
        "maxMs": 5.0, "replyTo": "uploads.typed",
    }  # fmt: skip
    assert without_time(failed) == {
        "event": "failed", "trigger": "kafka", "function": "classify", "where": "uploads", "outcome": "rejected",
        "error": "no", "what": "uploads[0] 1", "count": 1,
    }  # fmt: skip


def test_no_colours_without_a_terminal() -> None:
    stream = io.StringIO()

    Console(stream).line("done", "green")

    assert "\x1b" not in stream.getvalue()


def test_a_stream_that_went_away_does_not_raise() -> None:
    stream = io.StringIO()
    stream.close = lambda: None  # type: ignore[method-assign]
    console = Console(stream)
    io.StringIO.close(stream)

    console.line("nobody reads this")


def without_time(value: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name != "time"}
