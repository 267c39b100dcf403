"""Dispatch: which function, on which thread, with which outcome."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.v1.event import CloudEvent
from pydantic import BaseModel, field_validator

import upon
from support.services import dispatcher_of
from upon import Event, HttpInfo
from upon._engine import invocation
from upon._outcome import Done, Failed, Outcome
from upon_runtime.dispatcher import Dispatcher


@pytest.fixture
def closing() -> Iterator[list[Dispatcher]]:
    """Dispatchers put in here are closed at the end."""
    made: list[Dispatcher] = []
    yield made
    assert all(dispatcher.close(5) for dispatcher in made)


@pytest.fixture
def make(closing: list[Dispatcher]) -> Any:
    def build(*functions: Any, **more: Any) -> Dispatcher:
        closing.append(dispatcher_of(*functions, **more))
        return closing[-1]

    return build


class Collected:
    """Outcomes from callbacks, and a wait for their number."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._changed = threading.Condition()

    def __call__(self, *args: Any) -> None:
        outcome = args[-1]
        with self._changed:
            self.outcomes.extend(outcome if isinstance(outcome, (list, tuple)) else [outcome])
            self._changed.notify_all()

    def wait(self, count: int, timeout: float = 5) -> list[Outcome]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.outcomes) >= count, timeout), self.outcomes
        return self.outcomes

    @property
    def kinds(self) -> list[str]:
        return [outcome.kind for outcome in self.outcomes]


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


def plain(event: Event) -> Any:
    return event.data


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


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError("bad"), "error", "ValueError: bad"),
        (upon.Retry("later", after=3), "retry", "later"),
        (upon.Reject("never"), "rejected", "never"),
        (upon.Overloaded("full", after=2), "overloaded", "full"),
        (SystemExit(3), "error", "SystemExit: 3"),
        (RecursionError(), "error", "RecursionError"),
    ],
)
def test_what_a_handler_raises_becomes_its_outcome(make: Any, error: BaseException, kind: str, text: str) -> None:
    def failing(event: Event) -> None:
        raise error

    async def failing_too(event: Event) -> None:
        raise error

    for function in (failing, failing_too) if isinstance(error, Exception) else (failing,):
        outcome = make(function).deliver(Event.of())
        assert (kind, text) == (outcome.kind, outcome.error)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(3), "SystemExit: 3"),
        (GeneratorExit(), "GeneratorExit"),
        (asyncio.CancelledError("own task"), "CancelledError: own task"),
        (Unprintable(), "Unprintable"),
        (ValueError("file \udcff"), "ValueError: file ?"),
    ],
)
def test_whatever_a_handler_raises_there_is_one_outcome(make: Any, error: BaseException, text: str) -> None:
    def one(event: Event) -> None:
        raise error

    async def one_async(event: Event) -> None:
        raise error

    def several(events: list[Event]) -> None:
        raise error

    async def several_async(events: list[Event]) -> None:
        raise error

    dispatcher = make(one, one_async, several, several_async)
    for name in ("one", "one_async", "several", "several_async"):
        seen = Collected()
        dispatcher.submit_run([Event.of()], seen, function=name)
        dispatcher.submit_batch([Event.of(), Event.of()], seen, function=name)
        assert [("error", text)] * 3 == [(outcome.kind, outcome.error) for outcome in seen.wait(3)]
    assert not dispatcher.watchdog._watched
    assert 0 == dispatcher.watchdog.late


def test_ctrl_c_on_the_main_thread_goes_on(make: Any) -> None:
    def pressed(event: Event) -> None:
        raise KeyboardInterrupt

    dispatcher = make(pressed)
    with pytest.raises(KeyboardInterrupt):
        dispatcher.deliver(Event.of())
    assert not dispatcher.watchdog._watched


def test_a_task_that_ends_the_process_does_not_end_the_event_loop(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def careless(event: Event) -> None:
        async def leave() -> None:
            sys.exit(3)

        if event.data:
            await asyncio.create_task(leave())

    dispatcher = make(upon.options(timeout=2)(careless))
    assert ("error", "SystemExit: 3") == attrgetter("kind", "error")(dispatcher.deliver(Event.of(True)))
    assert "done" == dispatcher.deliver(Event.of(False)).kind
    assert "the event loop goes on" in caplog.text


class Picky(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def check(cls, value: int) -> int:
        return {1: 1}[value]


def test_a_validator_with_a_bug_is_an_error_of_that_event(make: Any) -> None:
    def one(picky: Picky) -> None: ...

    async def one_async(picky: Picky) -> None: ...

    def several(pickies: list[Picky]) -> None: ...

    async def several_async(pickies: list[Picky]) -> None: ...

    dispatcher = make(one, one_async, several, several_async)
    for name, kinds in (("one", ["done", "error"]), ("several", ["done", "error", "done"])):
        for function in (name, name + "_async"):
            seen = Collected()
            events = [Event.of({"number": number}) for number in (1, 2, 1)]
            submit = dispatcher.submit_batch if name == "several" else dispatcher.submit_run
            submit(events, seen, function=function)
            outcomes = seen.wait(len(kinds))
            assert kinds == seen.kinds
            assert "KeyError: 2" == outcomes[1].error
    assert not dispatcher.watchdog._watched


def test_an_event_of_the_cloudevents_sdk_is_a_reply_too(make: Any) -> None:
    def answer(event: BaseCloudEvent) -> BaseCloudEvent:
        return CloudEvent({"id": "7", "source": "/sdk", "type": event.get_type() + ".done"}, {"a": 1})

    reply = make(answer).deliver(Event.of(type="job")).reply
    assert ("7", "/sdk", "job.done", {"a": 1}) == (reply.id, reply.source, reply.type, reply.data)


def test_a_result_without_json_form_is_an_error_of_the_handler(make: Any) -> None:
    def odd(event: Event) -> Any:
        return {"x": float("nan")}

    outcome = make(odd).deliver(Event.of())
    assert "error" == outcome.kind
    assert "nan at /x has no JSON form" in outcome.error


def test_a_plain_answer_without_json_form_is_an_error_too(make: Any) -> None:
    def odd(event: Event) -> Any:
        return {"x": float("nan")}

    asked = Event._trusted(
        {"specversion": "1.0", "id": "1", "source": "/svc/odd", "type": "t"}, None, http=HttpInfo("GET", "/odd")
    )
    outcome = make(odd).deliver(asked)
    assert "error" == outcome.kind
    assert "nan at /x has no JSON form" in outcome.error


def test_data_that_the_handler_is_the_first_to_look_at_is_invalid_too(make: Any) -> None:
    event = Event.of(b'{"a":', datacontenttype="application/json")
    outcome = make(plain).deliver(event)
    assert "invalid" == outcome.kind
    assert "not JSON" in outcome.error


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


# Batch handlers


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


# Topic sends and replies


class SlowPublisher:
    """Confirms when told to, or fails."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.published: list[tuple[str, Event[Any], bytes | None]] = []

    def publish(self, topic: str, event: Event[Any], key: bytes | None, on_done: Any) -> None:
        self.published.append((topic, event, key))
        threading.Timer(0.05, on_done, (self.error,)).start()


@pytest.mark.parametrize(("error", "kind"), [(None, "done"), (upon.Overloaded("broker is away"), "overloaded")])
def test_sends_are_confirmed_before_the_event_is(make: Any, error: BaseException | None, kind: str) -> None:
    topic, publisher = upon.Topic("out"), SlowPublisher(error)
    topic._bind(publisher)

    def fan_out(event: Event) -> None:
        for number in range(3):
            topic.send(number, key="k")

    async def fan_out_async(event: Event) -> None:
        for number in range(3):
            await topic.asend(number, key=b"k")

    for function in (fan_out, fan_out_async):
        publisher.published.clear()
        began = time.monotonic()
        assert kind == make(function).deliver(Event.of()).kind
        assert time.monotonic() - began >= 0.04
        assert {("out", b"k", f"/svc/{function.__name__}")} == {
            (name, key, event.source) for name, event, key in publisher.published
        }


def test_sends_have_the_same_ids_at_every_delivery(make: Any) -> None:
    topic, publisher = upon.Topic("out"), SlowPublisher()
    topic._bind(publisher)

    def fan_out(event: Event) -> None:
        for number in range(2):
            topic.send(number)

    dispatcher = make(fan_out)
    for event_id in ("1", "1", "2"):
        dispatcher.deliver(Event.of(id=event_id))
    ids = [event.id for _, event, _ in publisher.published]
    assert ids[:2] == ids[2:4]
    assert 4 == len(set(ids))


def test_a_reply_to_of_an_http_trigger_is_written_before_the_answer(make: Any) -> None:
    publisher = SlowPublisher()

    @upon.cloudevent(type="order", reply_to="orders.done", reply_type="order.done")
    def order(event: Event) -> dict[str, int]:
        return {"n": 1}

    dispatcher = make(order)
    dispatcher.publisher = publisher
    outcome = dispatcher.deliver(Event.of(type="order", partitionkey="p"))
    assert [("orders.done", outcome.reply, b"p")] == publisher.published
    assert "order.done" == outcome.reply.type


def test_each_trigger_of_a_function_has_its_own_reply_to(make: Any) -> None:
    @upon.http("POST /score", reply_to="wrong", reply_type="wrong")
    @upon.http("GET /a/score", reply_to="wrong", reply_type="wrong")
    @upon.http("POST /a/score", reply_to="right", reply_type="right")
    def score(event: Event) -> dict[str, int]:
        return {"n": 1}

    dispatcher = make(score)
    dispatcher.publisher = SlowPublisher()
    attributes = {"specversion": "1.0", "id": "1", "source": "/svc/a/score", "type": "upon.http.request"}
    request = Event._trusted(attributes, None, http=HttpInfo("POST", "/a/score"))
    assert "done" == dispatcher.deliver(request).kind
    assert [("right", "right")] == [(topic, event.type) for topic, event, _ in dispatcher.publisher.published]


# The end


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
