"""Structured logs: one JSON object a line, every line about an event with its id; and the observer that writes them."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from upon import Event, _json
from upon._outcome import KINDS, Failed, Outcome, all_plain
from upon_runtime.observe import origin

log = logging.getLogger("upon.events")


class JsonFormatter(logging.Formatter):
    """time, level, logger, message, then what the record carries in `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:23] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = self.formatException(record.exc_info)
        return _json.dumps(line).decode()


def configure(*, as_json: bool, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send the process's logs to `stream` (stderr). Raises ValueError for an unknown level."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        JsonFormatter() if as_json else logging.Formatter("%(asctime)s  %(levelname)-7s %(message)s", "%H:%M:%S")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("kafka").setLevel(logging.ERROR)


class EventLog:
    """An observer: failures as warnings and errors, successes at debug level."""

    def finished(
        self, function: str, events: Sequence[Event[Any]], outcomes: Sequence[Outcome], seconds: float
    ) -> None:
        chatty = log.isEnabledFor(logging.DEBUG)
        if not chatty and (outcomes[0].kind == "done" if len(outcomes) == 1 else all_plain(outcomes)):
            return
        for event, outcome in zip(events, outcomes, strict=True):
            if isinstance(outcome, Failed):
                self._failed(function, event, outcome, seconds)
            elif chatty:
                log.debug("%s done", function, extra={"fields": _fields(function, event, seconds)})

    def finished_each(
        self, function: str, events: Sequence[Event[Any]], outcomes: Sequence[Outcome], seconds: Sequence[float]
    ) -> None:
        if not all_plain(outcomes) or log.isEnabledFor(logging.DEBUG):
            for event, outcome, took in zip(events, outcomes, seconds, strict=True):
                self.finished(function, (event,), (outcome,), took)

    def late(self, function: str, event: Event[Any], timeout: float) -> None:
        log.warning(
            "%s is past its timeout of %g s and still runs",
            function,
            timeout,
            extra={"fields": _fields(function, event, timeout)},
        )

    def _failed(self, function: str, event: Event[Any], outcome: Failed, seconds: float) -> None:
        fields = {**_fields(function, event, seconds), "outcome": outcome.kind, "error": outcome.error}
        if outcome.pointers:
            fields["pointers"] = [list(pair) for pair in outcome.pointers]
        if outcome.kind == "error" and outcome.cause is not None:
            fields["traceback"] = "".join(traceback.format_exception(outcome.cause))
        level = logging.ERROR if outcome.kind == "error" else logging.WARNING
        if KINDS[outcome.kind].verdict == "busy":
            level = logging.DEBUG  # metrics and the readiness body show it; a line an event would drown the rest
        log.log(level, "%s: %s: %s", function, outcome.kind, outcome.error, extra={"fields": fields})


def _fields(function: str, event: Event[Any], seconds: float) -> dict[str, Any]:
    fields = {
        "function": function,
        "trigger": origin(event),
        "event_id": event.id,
        "event_source": event.source,
        "event_type": event.type,
        "attempt": event.attempt,
        "duration_ms": round(seconds * 1000, 3),
    }
    if event.kafka is not None:
        fields |= {
            "topic": event.kafka.topic,
            "partition": event.kafka.partition,
            "offset": event.kafka.offset,
        }
    trace = event._attributes.get("traceparent")
    if trace is not None:
        fields["traceparent"] = trace
    return fields
