from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import upon
from upon import Event, MalformedEvent, UponError, UsageError
from upon.testing import START, Client


@upon.kafka("orders", reply_to="orders.priced")
def price(order: dict) -> dict[str, Any]:
    return {"total": order["count"] * 0.5}


@upon.kafka("orders")
async def count(order: dict) -> None:
    if order["count"] == 13:
        raise ValueError("unlucky")


def test_records_become_events_and_replies_become_records() -> None:
    with Client(price, name="shop") as client:
        client.kafka.publish("orders", {"count": 4}, key="customer", headers={"trace": "1"})
        client.settle()
        (order,) = client.kafka.records("orders")
        assert (b"customer", b'{"count":4}', {"trace": b"1"}) == (order.key, order.value, order.headers)
        assert (START, {"count": 4}) == (order.timestamp, order.data)
        (reply,) = client.kafka.records("orders.priced")
        assert (b"customer", {"total": 2.0}) == (reply.key, reply.data)
        event = reply.event
        assert ("shop.price.reply", "/shop/price") == (event.type, event.source)
        assert "partition:0/offset:0" == event.extensions["causationid"]
        assert [] == client.kafka.records("unknown")


@pytest.mark.parametrize(
    ("value", "stored"),
    [(None, None), (b"\x00", b"\x00"), ("text", b"text"), ([1, 2], b"[1,2]"), ({"a": None}, b'{"a":null}')],
)
def test_what_is_written(value: object, stored: bytes | None) -> None:
    with Client(price) as client:
        client.kafka.publish("free", value)
        assert [stored] == [record.value for record in client.kafka.records("free")]


def test_an_event_is_written_as_a_cloudevent() -> None:
    seen: list[Event[Any]] = []

    @upon.kafka("events")
    def see(event: Event) -> None:
        seen.append(event)

    with Client(see) as client:
        sent = Event.of({"n": 1}, id="7", type="made", partitionkey="p")
        client.kafka.publish("events", sent, headers={"extra": b"1"})
        client.kafka.publish("events", sent, key=b"own")
        client.settle()
        records = client.kafka.records("events")
        assert [b"p", b"own"] == [record.key for record in records]
        assert sent == records[0].event
        assert b"1" == records[0].headers["extra"]
    assert [sent, sent] == seen


def test_a_record_that_is_no_event_says_so_when_it_is_read() -> None:
    with Client(price) as client:
        client.kafka.publish("free", b"{}", headers={"ce_id": "1"})
        (record,) = client.kafka.records("free")
        with pytest.raises(MalformedEvent):
            _ = record.event
        assert b"{}" == record.value


def test_the_same_topic_for_two_functions_with_dead_letters_of_both() -> None:
    with Client(price, count) as client:
        client.kafka.publish("orders", {"count": 13})
        client.kafka.publish("orders", {})
        client.settle()
        client.advance(600)
        dead = client.dead("orders")
        assert [
            ("orders.count.dead", {"count": 13}, b"ValueError: unlucky", b"6"),
            ("orders.count.dead", {}, b"KeyError: 'count'", b"6"),
            ("orders.price.dead", {}, b"KeyError: 'count'", b"6"),
        ] == [(r.topic, r.data, r.headers["upon-error"], r.headers["upon-attempts"]) for r in dead]


def test_dead_letters_of_a_topic_that_nobody_reads() -> None:
    with Client(price) as client, pytest.raises(UsageError, match="no function reads topic 'order': the project reads"):
        client.dead("order")


def test_retries_run_on_the_clients_clock() -> None:
    tries: list[tuple[int, float]] = []

    @upon.kafka("work")
    @upon.options(retry=3)
    def work(event: Event) -> None:
        tries.append((event.attempt, (client.now - START).total_seconds()))
        raise upon.Retry(after=60) if event.attempt == 1 else ValueError("no")

    began = time.monotonic()
    with Client(work) as client:
        client.kafka.publish("work", 1)
        client.settle()
        assert [(1, 0.0)] == tries
        client.advance(59)
        assert [(1, 0.0)] == tries
        client.advance(1)
        assert [(1, 0.0), (2, 60.0)] == tries
        assert [] == client.dead("work")
        client.advance(3600)
        assert [1, 2, 3, 4] == [attempt for attempt, _ in tries]
        assert tries[2][1] < tries[3][1] < 62
        assert START + timedelta(seconds=3660) == client.now
        assert 1 == len(client.dead("work"))
    assert time.monotonic() - began < 10


def test_the_same_every_time() -> None:
    def run() -> list[datetime]:
        with Client(count) as client:
            client.kafka.publish("orders", {"count": 13})
            client.advance(600)
            return [record.timestamp for record in client.dead("orders")]

    first = run()
    assert 1 == len(first)
    assert first == run()


def test_busy_is_not_an_attempt() -> None:
    attempts: list[int] = []

    @upon.kafka("work")
    def work(event: Event) -> None:
        attempts.append(event.attempt)
        if len(attempts) <= 20:
            raise upon.Overloaded("full")

    with Client(work) as client:
        client.kafka.publish("work", 1)
        client.advance(200)
        assert ([1] * 21, []) == (attempts, client.dead("work"))


def test_order_is_kept_while_a_retry_waits() -> None:
    handled: list[int] = []

    @upon.kafka("work")
    def work(event: Event) -> None:
        if event.data == 1 and event.attempt == 1:
            raise ValueError("once")
        handled.append(event.data)

    with Client(work) as client:
        for n in range(4):
            client.kafka.publish("work", n)
        client.settle()
        assert [0] == handled
        client.advance(1)
        assert [0, 1, 2, 3] == handled


def test_keys_go_on_beside_a_retry_in_several_partitions() -> None:
    handled: list[str] = []

    @upon.kafka("work", ordering="key")
    def work(event: Event) -> None:
        assert event.kafka is not None
        if event.kafka.key == b"bad":
            raise ValueError("no")
        handled.append(event.data)

    with Client(work, partitions=3) as client:
        for key in ("bad", "a", "b", "c", "d"):
            client.kafka.publish("work", key, key=key, headers={"content-type": "text/plain"})
        client.settle()
        assert ["a", "b", "c", "d"] == sorted(handled)


def test_a_batch_handler_gets_what_is_there_and_fails_by_item() -> None:
    sizes: list[int] = []

    @upon.kafka("work", reply_to="done")
    @upon.batched(max_size=4, max_wait=30.0)
    def work(numbers: list[int]) -> list[object]:
        sizes.append(len(numbers))
        return [upon.Reject("no") if n == 2 else {"n": n} for n in numbers]

    with Client(work) as client:
        for n in range(6):
            client.kafka.publish("work", n)
        client.settle()
        assert [4, 2] == sizes
        assert [0, 1, 3, 4, 5] == [record.data["n"] for record in client.kafka.records("done")]
        assert [2] == [record.data for record in client.dead("work")]


def test_functions_feed_each_other() -> None:
    @upon.kafka("a", reply_to="b")
    def first(n: int) -> int:
        return n + 1

    @upon.kafka("b", reply_to="c")
    async def second(n: int) -> int:
        return n * 10

    with Client(first, second) as client:
        client.kafka.publish("a", 1)
        client.settle()
        assert [20] == [record.data for record in client.kafka.records("c")]


def test_settle_names_what_hangs() -> None:
    release = threading.Event()

    @upon.kafka("work")
    def work(event: Event) -> None:
        release.wait(20)

    with Client(work) as client:
        client.kafka.publish("work", 1)
        with pytest.raises(TimeoutError, match=r"not settled after 0.2 s: work still handles event 'partition:0/off"):
            client.settle(0.2)
        release.set()
        client.settle()


def test_leaving_with_a_retry_under_way_does_not_wait() -> None:
    with Client(count) as client:
        client.kafka.publish("orders", {"count": 13})
        client.settle()
        began = time.monotonic()
    assert time.monotonic() - began < 2


def test_the_clock_starts_where_it_is_told() -> None:
    moment = datetime(2031, 5, 6, 7, 8, tzinfo=UTC)
    with Client(price, at=moment) as client:
        client.kafka.publish("free", "x")
        assert [moment] == [record.timestamp for record in client.kafka.records("free")]


def test_a_new_group_that_begins_at_the_end_is_there_from_the_start() -> None:
    seen: list[object] = []

    @upon.kafka("work", start="latest")
    def work(event: Event) -> None:
        seen.append(event.data)

    with Client(work) as client:
        client.kafka.publish("work", 1)
        client.settle()
    assert [1] == seen


def test_closing_tells_of_a_handler_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    @upon.kafka("work")
    def work(event: Event) -> None:
        release.wait(20)

    monkeypatch.setattr("upon.testing.TIMEOUT", 0.2)
    client = Client(work).open()
    client.kafka.publish("work", 1)
    with pytest.raises(TimeoutError):
        client.settle(0.1)
    with pytest.raises(UponError, match=r"handlers still run 0.2 s after the client was closed"):
        client.close()
    release.set()


def test_time_does_not_go_back() -> None:
    with Client(price) as client, pytest.raises(UsageError, match="time goes forward only"):
        client.advance(-1)
