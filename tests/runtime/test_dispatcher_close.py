"""The end of a dispatcher: finished, refused, or given up in time."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import upon
from support.dispatching import Collected
from support.services import dispatcher_of
from upon import Event


def test_close_finishes_what_waits_and_refuses_what_comes(make: Any) -> None:
    def brief(event: Event) -> None:
        time.sleep(0.02)

    dispatcher = make(upon.options(concurrency=1)(brief))
    seen = Collected()
    for _ in range(5):
        dispatcher.submit(Event.of(), seen)
    assert dispatcher.close(5)
    dispatcher.submit(Event.of(), seen)
    assert ["done"] * 5 + ["draining"] == seen.kinds


def test_close_finishes_async_handlers_that_wait_for_their_turn(make: Any) -> None:
    async def brief(event: Event) -> None:
        await asyncio.sleep(0.02)

    dispatcher = make(upon.options(concurrency=1)(brief))
    seen = Collected()
    for _ in range(5):
        dispatcher.submit(Event.of(), seen)
    assert dispatcher.close(5)
    assert ["done"] * 5 == seen.kinds


def test_async_handlers_that_never_had_their_turn_are_told_so() -> None:
    async def forever(event: Event) -> None:
        await asyncio.sleep(60)

    async def forever_batch(events: list[Event]) -> None:
        await asyncio.sleep(60)

    for function in (forever, forever_batch):
        dispatcher = dispatcher_of(upon.options(concurrency=1)(function))
        seen = Collected()
        for _ in range(3):
            dispatcher.submit_batch([Event.of()], seen)
        assert not dispatcher.close(0.2)
        seen.wait(3)
        assert ["draining"] * 3 == seen.kinds


def test_a_task_that_a_handler_left_behind_does_not_hold_up_the_end(make: Any) -> None:
    kept: list[asyncio.Task[bool]] = []

    async def start(event: Event) -> None:
        kept.append(asyncio.create_task(asyncio.Event().wait()))

    dispatcher = make(start)
    dispatcher.deliver(Event.of())
    began = time.monotonic()
    assert dispatcher.close(5)
    assert time.monotonic() - began < 2
    assert kept[0].cancelled()


def test_close_gives_up_in_time_and_says_so() -> None:
    release = threading.Event()
    dispatcher = dispatcher_of(lambda_free(release))
    seen = Collected()
    dispatcher.submit(Event.of(), seen)
    began = time.monotonic()
    assert not dispatcher.close(0.1)
    assert time.monotonic() - began < 3
    release.set()
    seen.wait(1)


def lambda_free(release: threading.Event) -> Any:
    def hold(event: Event) -> None:
        release.wait(10)

    return hold


def test_close_waits_for_async_handlers(make: Any) -> None:
    async def brief(event: Event) -> None:
        await asyncio.sleep(0.1)

    dispatcher = make(brief)
    seen = Collected()
    dispatcher.submit(Event.of(), seen)
    assert dispatcher.close(5)
    dispatcher.submit(Event.of(), seen)
    dispatcher.submit_batch([Event.of()], seen)
    seen(dispatcher.deliver(Event.of()))
    assert ["done", "draining", "draining", "draining"] == seen.kinds


def test_close_cancels_async_handlers_that_take_too_long() -> None:
    async def forever(event: Event) -> None:
        await asyncio.sleep(60)

    dispatcher = dispatcher_of(forever)
    seen = Collected()
    dispatcher.submit(Event.of(), seen)
    assert not dispatcher.close(0.2)
    assert ["draining"] == [outcome.kind for outcome in seen.wait(1)]
