"""What became of an event: outcomes as values, and the one table that gives each kind its meaning.

Whoever needs to know what an outcome means (an HTTP status, whether to retry, a metric's label) asks this
table and nothing else. The verdicts:

- `done`: finished; commit.
- `final`: trying again can't help; straight to the dead letter.
- `counts`: an attempt; retried by policy, then the dead letter.
- `busy`: says nothing about the event; never counts, never dead-letters; slow down and try on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from upon._errors import (
    Busy,
    DataError,
    DeadlineExceeded,
    Draining,
    TooLarge,
    UndecodableData,
)

if TYPE_CHECKING:
    from upon._engine import Sent
    from upon._event import Event
    from upon._response import Response

Verdict: TypeAlias = Literal["done", "final", "counts", "busy"]
FailureKind: TypeAlias = Literal[
    "malformed",
    "invalid",
    "unsubscribed",
    "rejected",
    "too_large",
    "error",
    "retry",
    "timeout",
    "crashed",
    "overloaded",
    "draining",
]


class Kind(NamedTuple):
    status: int
    verdict: Verdict
    title: str


KINDS: dict[str, Kind] = {
    "done": Kind(200, "done", "Done"),
    "malformed": Kind(400, "final", "Not a valid CloudEvent"),
    "invalid": Kind(422, "final", "Data fails decoding or validation"),
    "unsubscribed": Kind(422, "final", "No function wants this event"),
    "rejected": Kind(422, "final", "Rejected by the function"),
    "too_large": Kind(413, "final", "Body too large"),
    "error": Kind(500, "counts", "The function raised an error"),
    "retry": Kind(503, "counts", "The function asks to try again"),
    "timeout": Kind(504, "counts", "The function took too long"),
    "crashed": Kind(500, "final", "The process died of the event, again and again"),
    "overloaded": Kind(429, "busy", "Too much work at once"),
    "draining": Kind(503, "busy", "Stopping or not ready"),
}


@dataclass(frozen=True, slots=True)
class Done:
    """The handler finished. `reply` is a CloudEvent, a plain HTTP Response, or nothing.

    sent: what the handler sent to topics and the source has to write, in the transaction of an exactly-once function.
    """

    reply: Event | Response | None = None
    kind: Literal["done"] = "done"
    sent: tuple[Sent, ...] = ()


@dataclass(frozen=True, slots=True)
class Repeated(Done):
    """Handled before, by an idempotent function: the handler was not called, and the reply is what it returned then."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler did not finish. `kind` is a row of KINDS.

    error: one sentence for people, never a traceback. after: seconds to wait before the next try.
    pointers: (JSON pointer, reason) pairs of a failed validation. status: an HTTP status in place of the table's.
    cause: the exception, for logs.
    """

    kind: FailureKind
    error: str
    after: float | None = None
    pointers: tuple[tuple[str, str], ...] = ()
    status: int | None = None
    cause: BaseException | None = None


Outcome: TypeAlias = Done | Failed

DONE = Done()


def all_plain(outcomes: Sequence[Outcome]) -> bool:
    """Whether there are some and each is done without a reply: the usual case, told without a loop."""
    return bool(outcomes) and outcomes[0] is DONE and outcomes.count(DONE) == len(outcomes)


class Retry(Exception):
    """Raise in a handler: try this event again, at the earliest in `after` seconds. It counts as an attempt."""

    def __init__(self, reason: str = "the function asked to try again", *, after: float | None = None) -> None:
        if after is not None and not 0 <= after < float("inf"):
            raise ValueError(f"after must be a number of seconds >= 0, not {after!r}")
        super().__init__(reason)
        self.after = after


class Reject(Exception):
    """Raise in a handler: this event can never be handled; it goes to the dead letter without another try.

    status: the HTTP status for callers of a plain HTTP route (400 to 499, default 422).
    """

    def __init__(self, reason: str = "the function rejected the event", *, status: int | None = None) -> None:
        if status is not None and not 400 <= status <= 499:
            raise ValueError(f"status must be between 400 and 499, not {status!r}")
        super().__init__(reason)
        self.status = status


def failure_from(error: BaseException) -> Failed:
    """Map an exception that left a handler to its outcome: the only place where that is decided."""
    text = _text_of(error)
    match error:
        case Retry():
            return Failed("retry", text, after=error.after, cause=error)
        case Reject():
            return Failed("rejected", text, status=error.status, cause=error)
        case Draining():
            return Failed("draining", text, after=error.after, cause=error)
        case Busy():
            return Failed("overloaded", text, after=error.after, cause=error)
        case DeadlineExceeded():
            return Failed("timeout", text, cause=error)
        case TooLarge():
            return Failed("rejected", text, cause=error)
        case UndecodableData():  # the handler was the first to look at the data
            return invalid_from(error)
        case _:
            return Failed("error", f"{type(error).__name__}: {text}" if text else type(error).__name__, cause=error)


def _text_of(error: BaseException) -> str:
    """Its text, fit for JSON: names of files may hold what UTF-8 can't write, and __str__ is the person's code."""
    try:
        return str(error).encode(errors="replace").decode()
    except Exception:
        return ""


def invalid_from(error: DataError) -> Failed:
    """The event's data failed decoding or validation, before the handler ran."""
    return Failed("invalid", str(error), pointers=error.pointers, cause=error)
