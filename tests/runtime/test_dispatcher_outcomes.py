"""Whatever a handler does, there is one outcome."""

from __future__ import annotations

import asyncio
import sys
from operator import attrgetter
from typing import Any

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.v1.event import CloudEvent
from pydantic import BaseModel, field_validator

import upon
from support.dispatching import Collected, plain
from support.services import dispatcher_of
from upon import Event, HttpInfo
from upon_runtime.observe import Observers


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


class Broken(Observers):
    """An observer with a fault of its own."""

    def finished(self, *args: Any) -> None:
        raise RuntimeError("the observer fell over")


@upon.cloudevent(type="asynchronous")
async def asynchronously(event: Event) -> None:
    return None


@upon.cloudevent(type="many")
def many_at_once(events: list[Event]) -> None:
    return None


@pytest.mark.parametrize("function", [asynchronously, many_at_once])
def test_a_fault_of_our_own_is_an_outcome_too(function: Any, caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = dispatcher_of(function, observer=Broken())
    collected = Collected()
    event = Event({"id": "1", "source": "/s", "type": "t"})
    if function is many_at_once:
        dispatcher.submit_batch([event], collected, function=function.name)
    else:
        dispatcher.submit(event, collected, function=function.name)
    assert ["error"] == [outcome.kind for outcome in collected.wait(1)]
    assert "the observer fell over" in caplog.text
    assert dispatcher.close(5)
