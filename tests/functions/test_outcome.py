from __future__ import annotations

import typing

import pytest

import upon
from upon import Failed, Reject, Retry
from upon._outcome import KINDS, FailureKind, failure_from, invalid_from

# kind: HTTP status, verdict; as the documentation of outcomes has it
TABLE = {
    "done": (200, "done"),
    "malformed": (400, "final"),
    "invalid": (422, "final"),
    "unsubscribed": (422, "final"),
    "rejected": (422, "final"),
    "too_large": (413, "final"),
    "error": (500, "counts"),
    "retry": (503, "counts"),
    "timeout": (504, "counts"),
    "crashed": (500, "final"),
    "overloaded": (429, "busy"),
    "draining": (503, "busy"),
}


def test_the_one_table() -> None:
    assert TABLE == {name: (kind.status, kind.verdict) for name, kind in KINDS.items()}
    assert all(kind.title for kind in KINDS.values())


def test_every_failure_kind_has_a_row() -> None:
    assert set(TABLE) == {"done", *typing.get_args(FailureKind)}


def test_knative_retries_what_counts_or_is_busy_and_nothing_final() -> None:
    retried = {404, 408, 409, 429} | set(range(500, 600))
    answers = {name: row for name, row in TABLE.items() if name != "crashed"}  # who crashed gives no answer
    for status, verdict in answers.values():
        assert (verdict in ("counts", "busy")) == (status in retried)


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (Retry(), Failed("retry", "the function asked to try again")),
        (Retry("later", after=3), Failed("retry", "later", after=3)),
        (Reject("no text"), Failed("rejected", "no text")),
        (Reject("gone", status=410), Failed("rejected", "gone", status=410)),
        (upon.Draining("stopping", after=2), Failed("draining", "stopping", after=2)),
        (upon.Overloaded("full"), Failed("overloaded", "full", after=1.0)),
        (upon.Busy("busy", after=0.5), Failed("overloaded", "busy", after=0.5)),
        (upon.DeadlineExceeded("late"), Failed("timeout", "late")),
        (upon.TooLarge("17 MiB"), Failed("rejected", "17 MiB")),
        (upon.DataError("nan"), Failed("error", "DataError: nan")),
        (upon.MalformedEvent("bad"), Failed("error", "MalformedEvent: bad")),
        (upon.InputError("shape"), Failed("error", "InputError: shape")),
        (TimeoutError("socket"), Failed("error", "TimeoutError: socket")),
        (ValueError("wrong"), Failed("error", "ValueError: wrong")),
        (ValueError(), Failed("error", "ValueError")),
        (KeyError("text"), Failed("error", "KeyError: 'text'")),
    ],
    ids=repr,
)
def test_what_an_exception_of_a_handler_means(error: Exception, failed: Failed) -> None:
    outcome = failure_from(error)
    assert error is outcome.cause
    assert (failed.kind, failed.error, failed.after, failed.status) == (
        outcome.kind,
        outcome.error,
        outcome.after,
        outcome.status,
    )


def test_invalid_data_keeps_its_pointers() -> None:
    pointers = (("/text", "missing"),)
    assert pointers == invalid_from(upon.DataError("bad", pointers)).pointers
    assert "invalid" == invalid_from(upon.DataError("bad")).kind


@pytest.mark.parametrize("after", [-1, float("nan"), float("inf")])
def test_a_delay_that_is_none_is_refused(after: float) -> None:
    for make in (Retry, upon.Overloaded):
        with pytest.raises(ValueError, match="after must be a number of seconds >= 0"):
            make("later", after=after)


@pytest.mark.parametrize("status", [200, 399, 500])
def test_reject_is_the_clients_fault(status: int) -> None:
    with pytest.raises(ValueError, match="status must be between 400 and 499"):
        Reject(status=status)


def test_a_missing_extra_names_the_command() -> None:
    with pytest.raises(ImportError, match=r"Kafka needs the extra \[kafka\]: pip install 'upon\[kafka\]'"):
        raise upon.MissingExtra("Kafka", "kafka")
