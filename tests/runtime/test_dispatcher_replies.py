"""Topic sends and replies are confirmed before the event is."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import upon
from upon import Event, HttpInfo


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
