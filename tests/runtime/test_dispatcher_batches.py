"""Batch handlers: one outcome for every item."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

import upon
from support.dispatching import Collected, plain
from upon import Event
from upon._outcome import Done


def lengths(events: list[Event[list[int]]]) -> list[Any]:
    return [ValueError("empty") if not event.data else len(event.data) for event in events]


async def lengths_async(events: list[Event[list[int]]]) -> list[Any]:
    return lengths(events)


@pytest.mark.parametrize("function", [lengths, lengths_async])
def test_a_batch_has_an_outcome_for_every_item(make: Any, function: Any) -> None:
    seen = Collected()
    events = [Event.of(data) for data in ([1, 2], [], ["x"], [3])]
    make(function).submit_batch(events, seen)
    outcomes = seen.wait(4)
    assert ["done", "error", "invalid", "done"] == seen.kinds
    assert [2, 1] == [outcome.reply.data for outcome in outcomes if isinstance(outcome, Done)]
    assert (("/0", "Input should be a valid integer"),) == outcomes[2].pointers


@pytest.mark.parametrize("result", [[1], "xy", {"a": 1}])
def test_a_batch_handler_that_returns_something_else_fails_every_item(make: Any, result: Any) -> None:
    def wrong(events: list[Event]) -> Any:
        return result

    seen = Collected()
    make(wrong).submit_batch([Event.of(), Event.of()], seen)
    outcomes = seen.wait(2)
    assert ["error", "error"] == seen.kinds
    assert "return None, or a list with one entry per event in order" in outcomes[0].error


def test_a_batch_handler_takes_a_single_event_too(make: Any) -> None:
    assert 2 == make(lengths).deliver(Event.of([1, 2])).reply.data


def test_a_batch_for_a_single_handler_is_handled_one_by_one(make: Any) -> None:
    seen = Collected()
    make(plain).submit_batch([Event.of(1), Event.of(2)], seen)
    assert [1, 2] == [outcome.reply.data for outcome in seen.wait(2)]


def test_one_reply_that_is_no_event_fails_alone(make: Any) -> None:
    class Nameless:
        def get_attributes(self) -> dict[str, str]:
            return {"id": "", "source": "/s", "type": "t"}

        def get_data(self) -> None: ...

    def answer(events: list[Event]) -> list[Any]:
        return [Nameless(), {"a": 1}]

    seen = Collected()
    make(answer).submit_batch([Event.of(), Event.of()], seen)
    seen.wait(2)
    assert ["error", "done"] == seen.kinds


def test_a_batch_that_raises_or_is_late_fails_as_a_whole(make: Any) -> None:
    def broken(events: list[Event]) -> None:
        raise upon.Retry("not now")

    @upon.options(timeout=0.05)
    async def slow(events: list[Event]) -> None:
        await asyncio.sleep(5)

    for function, kind in ((broken, "retry"), (slow, "timeout")):
        seen = Collected()
        make(function).submit_batch([Event.of(), Event.of()], seen)
        seen.wait(2)
        assert [kind, kind] == seen.kinds


def test_handlers_are_told_their_deadline(make: Any) -> None:
    seen: list[float] = []

    def note(event: Event[int]) -> None:
        assert event.deadline is not None
        seen.append((event.deadline - datetime.now(UTC)).total_seconds())

    async def note_async(event: Event) -> None:
        note(event)

    def note_batch(events: list[Event[int]]) -> None:
        for event in events:
            note(event)

    for function in (note, note_async, note_batch):
        assert "done" == make(upon.options(timeout=40)(function)).deliver(Event.of(1)).kind
    assert 3 == len(seen)
    assert all(30 < left <= 40 for left in seen)


def test_observers_see_every_call(make: Any) -> None:
    calls: list[tuple[str, int, list[str]]] = []

    class Seen:
        def finished(self, function: str, events: Any, outcomes: Any, seconds: float) -> None:
            calls.append((function, len(events), [outcome.kind for outcome in outcomes]))

        def late(self, function: str, event: Any, timeout: float) -> None:
            raise AssertionError

    dispatcher = make(plain, lengths, observer=Seen())
    dispatcher.deliver(Event.of(1), function="plain")
    dispatcher.submit_batch([Event.of([1]), Event.of([])], Collected(), function="lengths")
    dispatcher.close(5)
    assert [("plain", 1, ["done"]), ("lengths", 2, ["done", "error"])] == calls
