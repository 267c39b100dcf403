"""Idempotent functions in upon.testing.Client: records, ticks and requests, with the client's own store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import upon
from support.projects import HEAD, write_project
from upon import Event
from upon.testing import Client

handled: list[object] = []


@upon.options(idempotent=True)
@upon.kafka("orders", reply_to="priced")
def price(event: Event) -> dict[str, int]:
    handled.append(event.id)
    if event.data == "fail" and len(handled) < 3:
        raise upon.Retry("not yet", after=1)
    return {"call": len(handled)}


@upon.options(idempotent=True)
@upon.kafka("many", reply_to="many.priced")
def price_many(events: list[Event]) -> list[int]:
    handled.append([event.id for event in events])
    return [len(handled)] * len(events)


@upon.options(idempotent=True)
@upon.cron("0 3 * * *")
def tick(event: Event) -> None:
    handled.append(event.id)


@pytest.fixture
def client() -> Iterator[Client]:
    handled.clear()
    with Client(price, price_many, tick) as client:
        yield client


def test_an_event_that_is_published_twice_is_handled_once_and_answered_twice(client: Client) -> None:
    event = Event.of({"n": 1}, id="a", source="/shop")
    for _ in range(3):
        client.kafka.publish("orders", event)
        client.settle()
    assert ["a"] == handled
    replies = [record.event for record in client.kafka.records("priced")]
    assert [{"call": 1}] * 3 == [reply.data for reply in replies]
    assert 1 == len({reply.id for reply in replies})


def test_plain_records_differ_by_their_place(client: Client) -> None:
    for _ in range(3):
        client.kafka.publish("orders", {"n": 1})
    client.settle()
    assert 3 == len(handled)


def test_retries_are_tries_of_the_same_event(client: Client) -> None:
    client.kafka.publish("orders", Event.of("fail", id="a", source="/shop"))
    client.settle()
    client.advance(5)
    assert ["a", "a", "a"] == handled
    assert [{"call": 3}] == [record.data for record in client.kafka.records("priced")]


def test_batches(client: Client) -> None:
    events = [Event.of(0, id=name, source="/shop") for name in ("a", "b", "a", "c")]
    for event in events:
        client.kafka.publish("many", event)
    client.settle()
    client.kafka.publish("many", events[3])
    client.settle()
    assert [["a", "b", "c"]] == handled
    assert 5 == len(client.kafka.records("many.priced"))


def test_the_same_tick_fires_once(client: Client) -> None:
    """As two replicas would fire it."""
    when = datetime(2025, 3, 1, 3, tzinfo=UTC)
    assert ["done", "done"] == [client.tick("tick", at=when).kind for _ in range(2)]
    assert 1 == len(handled)


def test_an_event_is_remembered_for_a_day(client: Client) -> None:
    event = Event.of(1, id="a", source="/shop")
    client.send(event, function="price")
    client.advance(86_000)
    client.send(event, function="price")
    assert ["a"] == [one for one in handled if one == "a"]
    client.advance(500)
    client.send(event, function="price")
    assert ["a", "a"] == [one for one in handled if one == "a"]


def test_a_project_needs_neither_its_store_nor_its_secret(tmp_path: Path) -> None:
    app = (
        "import upon\nseen = []\n@upon.cloudevent()\n@upon.options(idempotent=True)\ndef score(event): seen.append(1)\n"
    )
    store = "{store: redis, url: '{{ secret:cache:url }}', ttl: 60}"
    write_project(tmp_path, f"{HEAD}idempotency: {store}\n", app)
    with Client(tmp_path, env={}) as client:
        event = Event.of(1, id="a", source="/shop")
        for _ in range(2):
            client.send(event)
        seen = sys.modules["app"].seen

        assert [1] == seen
        client.advance(61)
        client.send(event)
        assert [1, 1] == seen
