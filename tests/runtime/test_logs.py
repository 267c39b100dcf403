"""Logs: one JSON object a line, with the event's id."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

import upon
from support.services import dispatcher_of
from upon import Event
from upon._event import KafkaInfo
from upon_runtime import logs


@pytest.fixture
def lines() -> Iterator[Any]:
    """Call it for the lines logged so far."""
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logs.configure(as_json=True, level="debug", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level = before[0], before[1]


def fail(event: Event) -> None:
    raise KeyError("missing")


def fine(event: Event) -> None: ...


def late(event: Event) -> None:
    raise upon.Overloaded("full")


def test_a_failure_is_one_line_with_everything_to_find_the_event(lines: Any) -> None:
    dispatcher = dispatcher_of(fail, observer=logs.EventLog())
    event = Event._trusted(
        {"specversion": "1.0", "id": "42", "source": "/s", "type": "t", "traceparent": "00-a-b-01"},
        b"1",
        kafka=KafkaInfo("topic", 3, 17),
    )
    dispatcher.deliver(event)
    (line,) = lines()
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert "KeyError: 'missing'" in line.pop("traceback")
    assert line.pop("duration_ms") >= 0
    assert {
        "level": "error",
        "logger": "upon.events",
        "message": "fail: error: KeyError: 'missing'",
        "function": "fail",
        "trigger": "kafka",
        "event_id": "42",
        "event_source": "/s",
        "event_type": "t",
        "attempt": 1,
        "topic": "topic",
        "partition": 3,
        "offset": 17,
        "traceparent": "00-a-b-01",
        "outcome": "error",
        "error": "KeyError: 'missing'",
    } == line


@pytest.mark.parametrize(("function", "level"), [(fine, "debug"), (late, "debug"), (fail, "error")])
def test_only_what_somebody_must_see_is_loud(lines: Any, function: Any, level: str) -> None:
    dispatcher_of(function, observer=logs.EventLog()).deliver(Event.of())
    assert [level] == [line["level"] for line in lines()]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="CHATTY"):
        logs.configure(as_json=False, level="chatty")
