"""Dispatch: which function gets an event, on which thread, under which limits."""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import ContextVar
from typing import Any

import pytest

import upon
from support.dispatching import Collected, plain
from upon import Event
from upon._engine import invocation
from upon._outcome import Failed


@upon.cloudevent(type="created")
def created(event: Event) -> dict[str, str]:
    return {"by": "created"}


@upon.cloudevent(type="deleted", source="/a")
def deleted(event: Event) -> None:
    return None


@upon.cloudevent(type="deleted", tenant="x")
def purged(event: Event) -> None:
    return None


@upon.cloudevent(type="n", level="5")
def numbered(event: Event) -> None:
    return None


@pytest.mark.parametrize(
    ("attributes", "function", "expected"),
    [
        ({"type": "created"}, None, "created"),
        ({"type": "deleted", "source": "/a"}, None, "deleted"),
        ({"type": "deleted", "source": "/b", "tenant": "x"}, None, "purged"),
        ({"type": "deleted", "source": "/b"}, None, "no function subscribes to type 'deleted' and source '/b'"),
        ({"type": "deleted", "source": "/a", "tenant": "x"}, None, "deleted, purged all match"),
        ({"type": "n", "level": 5}, None, "numbered"),
        ({"type": "n", "level": "5"}, None, "numbered"),
        ({"type": "n", "level": 6}, None, "no function subscribes"),
        ({"type": "n"}, None, "no function subscribes"),
        ({"type": "other"}, "created", "created"),
        ({"type": "created"}, "nobody", "there is no function 'nobody': svc has created, deleted, numbered, purged"),
    ],
)
def test_exactly_one_subscription_must_match(
    make: Any, attributes: dict[str, Any], function: str | None, expected: str
) -> None:
    found = make(created, deleted, purged, numbered).find(Event.of(**attributes), function)
    if isinstance(found, Failed):
        assert found.kind == "unsubscribed"
        assert expected in found.error
    else:
        assert expected == found.name


def test_the_only_function_without_a_filter_takes_any_event(make: Any) -> None:
    outcome = make(plain).deliver(Event.of({"a": 1}, type="whatever"))
    assert outcome.reply.data == {"a": 1}


def test_the_only_function_with_a_filter_keeps_to_it(make: Any) -> None:
    assert "unsubscribed" == make(created).deliver(Event.of(type="whatever")).kind


def test_a_reply_is_the_same_at_every_delivery(make: Any) -> None:
    dispatcher = make(plain)
    event = Event.of(
        [1],
        id="1",
        source="/s",
        subject="sub",
        traceparent="00-1-1-00",
        correlationid="c",
        partitionkey="k",
        other="not copied",
    )
    first, second = dispatcher.deliver(event), dispatcher.deliver(event)
    assert first == second
    assert {
        "specversion": "1.0",
        "id": first.reply.id,
        "source": "/svc/plain",
        "type": "svc.plain.reply",
        "subject": "sub",
        "traceparent": "00-1-1-00",
        "correlationid": "c",
        "partitionkey": "k",
        "causationid": "1",
        "datacontenttype": "application/json",
    } == first.reply._attributes
    assert first.reply.id != dispatcher.deliver(Event.of([1], id="2", source="/s")).reply.id


def test_sync_handlers_run_on_the_delivering_thread(make: Any) -> None:
    def where() -> int:
        return threading.get_ident()

    assert threading.get_ident() == make(where).deliver(Event.of()).reply.data


def test_context_variables_do_not_leak_from_one_event_to_the_next(make: Any) -> None:
    tenant: ContextVar[Any] = ContextVar("tenant", default=None)

    def one(event: Event) -> Any:
        before = tenant.get()
        tenant.set(event.data)
        return before

    async def one_async(event: Event) -> Any:
        return one(event)

    def several(events: list[Event]) -> list[Any]:
        return [one(event) for event in events]

    dispatcher = make(one, one_async, several)
    tenant.set("caller's")
    for name in ("one", "one_async", "several"):
        seen = [dispatcher.deliver(Event.of(data), function=name).reply.data for data in ("a", "b")]
        assert ["caller's"] * 2 == seen
    assert "caller's" == tenant.get()
    assert invocation.get() is None


def test_async_handlers_share_one_loop(make: Any) -> None:
    async def where(event: Event) -> int:
        await asyncio.sleep(0.01)
        return id(asyncio.get_running_loop())

    dispatcher = make(where)
    seen = Collected()
    for _ in range(20):
        dispatcher.submit(Event.of(), seen)
    assert 1 == len({outcome.reply.data for outcome in seen.wait(20)})


def test_a_run_is_handled_in_order_and_stops_at_the_first_failure(make: Any) -> None:
    handled = []

    def pick(event: Event) -> None:
        handled.append(event.data)
        if event.data == 3:
            raise upon.Retry

    async def pick_async(event: Event) -> None:
        pick(event)

    for function in (pick, pick_async):
        handled.clear()
        dispatcher = make(function)
        seen = Collected()
        dispatcher.submit_run([Event.of(n) for n in range(6)], seen)
        seen.wait(4)
        dispatcher.close(5)
        assert [0, 1, 2, 3] == handled
        assert ["done", "done", "done", "retry"] == seen.kinds


def test_a_late_sync_handler_is_reported_at_its_deadline_and_its_result_dropped(make: Any) -> None:
    release = threading.Event()
    struck: list[tuple[str, bool]] = []

    @upon.options(timeout=0.1)
    def slow(event: Event) -> str:
        release.wait(5)
        return "too late"

    dispatcher = make(slow)

    def on_late(outcome: Failed) -> None:
        struck.append((outcome.kind, release.is_set()))
        assert 1 == dispatcher.watchdog.late
        release.set()

    outcome = dispatcher.deliver(Event.of(), on_late=on_late)
    assert ("timeout", "slow took longer than 0.1 s") == (outcome.kind, outcome.error)
    assert [("timeout", False)] == struck
    assert 0 == dispatcher.watchdog.late


def test_a_late_async_handler_is_cancelled(make: Any) -> None:
    ended: list[str] = []

    @upon.options(timeout=0.1)
    async def slow(event: Event) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    assert "timeout" == make(slow).deliver(Event.of()).kind
    assert ["cancelled"] == ended


def test_a_timeout_raised_by_the_handler_itself_is_its_own_error(make: Any) -> None:
    async def impatient(event: Event) -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(5)

    assert "error" == make(impatient).deliver(Event.of()).kind


def test_stuck_when_late_handlers_fill_every_place(make: Any) -> None:
    release = threading.Event()

    @upon.options(timeout=0.05)
    def hang(event: Event) -> None:
        release.wait(10)

    dispatcher = make(hang, admission=2)
    seen = Collected()
    for _ in range(2):
        dispatcher.submit(Event.of(), seen)
    deadline = time.monotonic() + 5
    while not dispatcher.stuck and time.monotonic() < deadline:
        time.sleep(0.01)
    assert dispatcher.stuck
    release.set()
    seen.wait(2)
    assert not dispatcher.stuck


def test_concurrency_refuses_who_waits_for_an_answer_and_queues_the_rest(make: Any) -> None:
    entered, release = threading.Event(), threading.Event()
    running = []
    most = []

    @upon.options(concurrency=1)
    def alone(event: Event) -> None:
        running.append(1)
        most.append(len(running))
        entered.set()
        release.wait(5)
        running.pop()

    dispatcher = make(alone)
    seen = Collected()
    for _ in range(5):
        dispatcher.submit(Event.of(), seen)
    assert entered.wait(5)
    refused = dispatcher.deliver(Event.of())
    assert ("overloaded", 1.0) == (refused.kind, refused.after)
    release.set()
    assert ["done"] * 5 == [outcome.kind for outcome in seen.wait(5)]
    assert 1 == max(most)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_concurrency_of_runs(make: Any, asynchronous: bool) -> None:
    running, most = [0], [0]

    def count() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])

    async def pair_async(event: Event) -> None:
        count()
        await asyncio.sleep(0.005)
        running[0] -= 1

    def pair(event: Event) -> None:
        count()
        time.sleep(0.005)
        running[0] -= 1

    function = upon.options(concurrency=2)(pair_async if asynchronous else pair)
    dispatcher = make(function)
    seen = Collected()
    for _ in range(4):
        dispatcher.submit_run([Event.of(), Event.of()], seen)
    seen.wait(8)
    assert 2 >= most[0] >= 1
