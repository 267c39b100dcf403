from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from upon import DataError, Event, Topic, UponError, UsageError
from upon._engine import Invocation, invocation

OnDone = Callable[[BaseException | None], None]


class Recorder:
    """A publisher that keeps what it is given, and confirms it from another thread unless told to wait."""

    def __init__(self, error: BaseException | None = None, *, confirm: bool = True) -> None:
        self.sent: list[tuple[str, Event[Any], bytes | None]] = []
        self.waiting: list[OnDone] = []
        self.error = error
        self.confirm = confirm

    def publish(self, topic: str, event: Event[Any], key: bytes | None, on_done: OnDone) -> None:
        self.sent.append((topic, event, key))
        if self.confirm:
            threading.Thread(target=on_done, args=(self.error,)).start()
        else:
            self.waiting.append(on_done)


def bound(publisher: Recorder) -> Topic:
    topic = Topic("reviews")
    topic._bind(publisher)
    return topic


def test_data_becomes_an_event() -> None:
    publisher = Recorder()
    bound(publisher).send({"a": 1}, key="k")
    [(topic, event, key)] = publisher.sent
    assert ("reviews", {"a": 1}, "/upon", "upon.event", b"k") == (topic, event.data, event.source, event.type, key)


def test_an_event_goes_out_as_it_is() -> None:
    publisher = Recorder()
    event = Event.of(None, id="1")
    bound(publisher).send(event)
    assert [("reviews", event, None)] == publisher.sent


@pytest.mark.parametrize(
    ("key", "partition_key", "sent"),
    [
        (None, None, None),
        ("ä", None, "ä".encode()),
        (b"\xff", None, b"\xff"),
        (None, "p", b"p"),
        ("k", "p", b"k"),
        (None, 7, b"7"),
    ],
)
def test_the_key_is_the_one_given_else_the_partition_key(key: Any, partition_key: Any, sent: bytes | None) -> None:
    publisher = Recorder()
    bound(publisher).send(Event.of(1, partitionkey=partition_key), key=key)
    assert sent == publisher.sent[0][2]


def test_outside_a_handler_a_refusal_is_raised() -> None:
    with pytest.raises(ConnectionError, match="no broker"):
        bound(Recorder(ConnectionError("no broker"))).send(1)


def test_in_a_handler_send_returns_at_once_and_the_invocation_waits() -> None:
    publisher = Recorder(confirm=False)
    topic = bound(publisher)
    call = Invocation("score", "reviews")
    token = invocation.set(call)
    try:
        topic.send({"a": 1})
    finally:
        invocation.reset(token)
    event = publisher.sent[0][1]
    assert ("/reviews/score", "reviews.score.event") == (event.source, event.type)
    with pytest.raises(TimeoutError):
        call.sends.wait(0.01)
    publisher.waiting[0](None)
    call.sends.wait(1)


def test_asend_returns_after_the_confirmation() -> None:
    publisher = Recorder()
    asyncio.run(bound(publisher).asend({"a": 1}, key="k"))
    assert b"k" == publisher.sent[0][2]
    with pytest.raises(ConnectionError, match="no broker"):
        asyncio.run(bound(Recorder(ConnectionError("no broker"))).asend(1))


def test_a_confirmation_after_the_loop_is_gone_harms_nobody() -> None:
    publisher = Recorder(confirm=False)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bound(publisher).asend(1), 0.01)

    asyncio.run(give_up())
    publisher.waiting[0](None)


def test_without_a_runtime_the_remedy_is_told() -> None:
    with pytest.raises(UponError, match=r"topic 'reviews' has no broker here: .*func run.*upon\.testing\.Client"):
        Topic("reviews").send(1)


def test_what_can_not_be_sent_is_refused_before_it_is_sent() -> None:
    publisher = Recorder()
    with pytest.raises(UsageError, match="key must be str or bytes, not 7"):
        bound(publisher).send(1, key=7)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="has no JSON form"):
        bound(publisher).send(float("nan"))
    assert [] == publisher.sent


def test_in_a_handler_a_refused_send_leaves_nothing_to_wait_for() -> None:
    call = Invocation("score", "reviews")
    token = invocation.set(call)
    try:
        with pytest.raises(DataError):
            bound(Recorder()).send(object())
    finally:
        invocation.reset(token)
    call.sends.wait(0.01)


def test_in_a_handler_a_publisher_that_raises_leaves_nothing_to_wait_for() -> None:
    class Full(Recorder):
        def publish(self, topic: str, event: Event[Any], key: bytes | None, on_done: OnDone) -> None:
            raise BufferError("full")

    call = Invocation("score", "reviews")
    token = invocation.set(call)
    try:
        with pytest.raises(BufferError):
            bound(Full()).send(1)
    finally:
        invocation.reset(token)
    call.sends.wait(0.01)


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "ä", "a" * 250, None, 3])
def test_names_are_kafkas(name: Any) -> None:
    with pytest.raises(UsageError, match="is not a Kafka topic name"):
        Topic(name)
