"""Batches of an idempotent function: only fresh events reach the handler, and outcomes keep their places."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from support.dispatching import Collected
from support.handled import guarded
from support.stores import Clock
from upon import Done, Event, Outcome
from upon._outcome import Repeated
from upon_runtime.dispatcher import Dispatcher
from upon_runtime.idempotency import MemoryStore
from upon_runtime.idempotency.keys import key_of


class Batches:
    """A batch handler, sync or async; data that say so fail."""

    def __init__(self, is_async: bool) -> None:
        self.seen: list[list[str]] = []

        def handle(events: list[Event]) -> list[Any]:
            self.seen.append([event.id for event in events])
            return [ValueError("odd") if event.data == "fail" else f"reply {event.id}" for event in events]

        async def handle_async(events: list[Event]) -> list[Any]:
            return handle(events)

        handle_async.__name__ = "handle"
        self.function = handle_async if is_async else handle


def events(*ids: str, data: object = None) -> list[Event]:
    return [Event.of(data, id=name, source="/orders") for name in ids]


def handled(dispatcher: Dispatcher, given: Sequence[Event]) -> list[Outcome]:
    collected = Collected()
    dispatcher.submit_batch(given, collected)
    return collected.wait(len(given))


def data(outcomes: Sequence[Outcome]) -> list[Any]:
    return [
        outcome.reply.data if isinstance(outcome, Done) and isinstance(outcome.reply, Event) else outcome.kind
        for outcome in outcomes
    ]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def batches(request: pytest.FixtureRequest) -> Batches:
    return Batches(request.param)


def test_only_fresh_events_reach_the_handler(stack: ExitStack, batches: Batches) -> None:
    repeated = list[str]()
    dispatcher = guarded(stack, MemoryStore(), batches.function, on_repeated=repeated.append)
    handled(dispatcher, events("b", "d"))
    outcomes = handled(dispatcher, events("a", "b", "c", "d"))
    assert ["reply a", "reply b", "reply c", "reply d"] == data(outcomes)
    assert [Done, Repeated, Done, Repeated] == [type(outcome) for outcome in outcomes]
    assert [["b", "d"], ["a", "c"]] == batches.seen
    assert ["handle", "handle"] == repeated


def test_a_batch_without_fresh_events_is_not_handled(stack: ExitStack, batches: Batches) -> None:
    dispatcher = guarded(stack, MemoryStore(), batches.function)
    first, second = (handled(dispatcher, events("a", "b")) for _ in range(2))
    assert data(first) == data(second)
    assert [["a", "b"]] == batches.seen


def test_an_item_that_failed_is_free_for_its_next_try_and_others_are_done(stack: ExitStack, batches: Batches) -> None:
    dispatcher = guarded(stack, MemoryStore(), batches.function)
    mixed = [*events("a"), *events("b", data="fail"), *events("c")]
    assert ["reply a", "error", "reply c"] == data(handled(dispatcher, mixed))
    assert ["reply a", "reply b", "reply c"] == data(handled(dispatcher, events("a", "b", "c")))
    assert [["a", "b", "c"], ["b"]] == batches.seen


def test_the_same_event_twice_in_a_batch_is_handled_once(stack: ExitStack, batches: Batches) -> None:
    dispatcher = guarded(stack, MemoryStore(), batches.function)
    outcomes = handled(dispatcher, events("a", "b", "a", "a"))
    assert ["reply a", "reply b", "reply a", "reply a"] == data(outcomes)
    assert [Done, Done, Repeated, Repeated] == [type(outcome) for outcome in outcomes]
    assert [["a", "b"]] == batches.seen


def test_the_second_of_two_waits_where_the_first_one_failed(stack: ExitStack, batches: Batches) -> None:
    dispatcher = guarded(stack, MemoryStore(), batches.function)
    assert ["error", "overloaded"] == data(handled(dispatcher, events("a", "a", data="fail")))


def test_an_event_that_another_handles_is_busy_and_the_rest_goes_on(stack: ExitStack, batches: Batches) -> None:
    store = MemoryStore(Clock())
    dispatcher = guarded(stack, store, batches.function)
    given = events("a", "b", "c")
    store.begin([key_of(given[1], "handle", "default\n")], "theirs", 30)
    assert ["reply a", "overloaded", "reply c"] == data(handled(dispatcher, given))
    assert [["a", "c"]] == batches.seen


def test_a_single_event_for_a_batch_handler(stack: ExitStack, batches: Batches) -> None:
    dispatcher = guarded(stack, MemoryStore(), batches.function)
    [event] = events("a")
    outcomes = [dispatcher.deliver(event) for _ in range(2)]
    assert ["reply a", "reply a"] == data(outcomes)
    assert [["a"]] == batches.seen


def test_batches_that_overlap_handle_each_event_once(stack: ExitStack) -> None:
    """From many threads: whoever comes second for an event is busy, and repeats it until the reply is there."""
    counts: dict[str, int] = {}
    lock = threading.Lock()

    def handle(events: list[Event]) -> list[str]:
        with lock:
            for event in events:
                counts[event.id] = counts.get(event.id, 0) + 1
        return [f"reply {event.id}" for event in events]

    dispatcher = guarded(stack, MemoryStore(), handle)
    given = [events(*(f"{turn + offset}" for offset in range(10))) for turn in range(40)]
    results: list[list[Any]] = [[] for _ in given]

    def submit(turn: int) -> None:
        left = given[turn]
        while left:
            outcomes = handled(dispatcher, left)
            left = [event for event, outcome in zip(left, outcomes, strict=True) if outcome.kind == "overloaded"]
            results[turn] += [found for found in data(outcomes) if found != "overloaded"]

    threads = [threading.Thread(target=submit, args=(turn,)) for turn in range(len(given))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [sorted(f"reply {event.id}" for event in batch) for batch in given] == [sorted(found) for found in results]
    assert {1} == set(counts.values())
