"""A batch of CloudEvents in one request."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

import upon
from support.http import opened
from support.services import spec_of
from upon import Event
from upon_runtime.http import batch, create_app
from upon_runtime.service import Service

BATCH = "application/cloudevents-batch+json"
OUTCOMES = "application/vnd.upon.outcomes+json"
handled: list[list[int]] = []


@upon.cloudevent(type="double")
def double(event: Event) -> int | None:
    if event.data == "reject":
        raise upon.Reject("no")
    if event.data == "retry":
        raise upon.Retry("later", after=4)
    if event.data == "busy":
        raise upon.Overloaded("full")
    return None if event.data is None else event.data * 2


@upon.batched(max_size=2)
@upon.cloudevent(type="many")
def many(items: list[int]) -> list[Any]:
    handled.append(items)
    return [ValueError("odd") if item % 2 else item for item in items]


@upon.options(timeout=0.1)
@upon.cloudevent(type="slow")
def slow(event: Event) -> None:
    time.sleep(event.data)


@pytest.fixture
def client() -> Iterator[Client]:
    handled.clear()
    with opened(double, many, slow) as service:
        yield create_app(service).test_client()


def item(data: object, type: str = "double", **attributes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "/s", "type": type, "data": data, **attributes}


def send(client: Client, *items: object, path: str = "/", accept: str = OUTCOMES) -> TestResponse:
    return client.post(path, data=json.dumps(items), headers={"content-type": BATCH, "accept": accept})


def test_outcomes_of_every_item_in_order(client: Client) -> None:
    reply = send(client, item(1), item("reject"), item("retry"), item(None), item(2, "unknown"), item(5, id=7), 3)
    assert (200, OUTCOMES) == (reply.status_code, reply.headers["content-type"])
    answers = json.loads(reply.data)
    kinds = ["done", "rejected", "retry", "done", "unsubscribed", "malformed", "malformed"]
    assert kinds == [answer["outcome"] for answer in answers]
    assert list(range(7)) == [answer["index"] for answer in answers]
    assert [None, None, 4, None] == [answer["after"] for answer in answers[:4]]
    assert [None, "no", "later", None] == [answer["reason"] for answer in answers[:4]]
    assert (2, "/svc/double") == (answers[0]["event"]["data"], answers[0]["event"]["source"])
    assert [None] * 6 == [answer["event"] for answer in answers[1:]]


def test_without_accept_and_without_replies_it_is_204(client: Client) -> None:
    reply = send(client, item(None), item(None), accept="*/*")
    assert (204, b"", "done") == (reply.status_code, reply.data, reply.headers["upon-outcome"])


def test_without_accept_replies_come_as_a_batch(client: Client) -> None:
    reply = send(client, item(1), item(None), item(3), accept="")
    assert (200, BATCH) == (reply.status_code, reply.headers["content-type"])
    assert [2, 6] == [event["data"] for event in json.loads(reply.data)]


@pytest.mark.parametrize(
    ("data", "status", "outcome"),
    [
        (["reject", 1], 422, "rejected"),
        (["reject", "busy"], 429, "overloaded"),
        (["reject", "busy", "retry", 1], 503, "retry"),
        (["reject", "busy", {"a": 1}], 500, "error"),  # a dict can't be doubled
    ],
)
def test_without_accept_the_worst_item_decides(client: Client, data: list[object], status: int, outcome: str) -> None:
    reply = send(client, *map(item, data), accept="")
    assert (status, outcome) == (reply.status_code, reply.headers["upon-outcome"])
    assert f"of {len(data)} items failed" in json.loads(reply.data)["detail"]


def test_a_batch_handler_gets_its_items_together(client: Client) -> None:
    answers = json.loads(send(client, item(2, "many"), item(0), item(4, "many"), item(7, "many")).data)
    assert ["done", "done", "done", "error"] == [answer["outcome"] for answer in answers]
    assert [[2, 4], [7]] == sorted(handled)


def test_an_item_that_does_not_fit_fails_alone(client: Client) -> None:
    answers = json.loads(send(client, item(2, "many"), item("x", "many")).data)
    assert ["done", "invalid"] == [answer["outcome"] for answer in answers]


def test_by_name(client: Client) -> None:
    answers = json.loads(send(client, item(2, "whatever"), path="/functions/double").data)
    assert 4 == answers[0]["event"]["data"]


def test_an_empty_batch(client: Client) -> None:
    assert [] == json.loads(send(client).data)
    assert 204 == send(client, accept="").status_code


@pytest.mark.parametrize("body", [b"{}", b"[", b"", b"null"])
def test_what_is_no_batch_is_malformed(client: Client, body: bytes) -> None:
    reply = client.post("/", data=body, headers={"content-type": BATCH})
    assert (400, "malformed") == (reply.status_code, reply.headers["upon-outcome"])


def test_the_wait_is_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "GRACE", 0.1)
    began = time.monotonic()
    answers = json.loads(send(client, item(0, "slow"), item(1.5, "slow")).data)
    assert time.monotonic() - began < 1.2
    assert ["done", "timeout"] == [answer["outcome"] for answer in answers]


class Publisher:
    """Confirms a while later; records of the key b"bad" are refused."""

    def __init__(self) -> None:
        self.written: list[tuple[str, Any]] = []

    def publish(self, topic: str, event: Event[Any], key: bytes | None, on_done: Any) -> None:
        self.written.append((topic, event.data))
        error = upon.Overloaded("the broker is away") if key == b"bad" else None
        threading.Timer(0.1, on_done, (error,)).start()


@upon.cloudevent(type="one", reply_to="answers")
def one(event: Event) -> int | None:
    return double.plain(event)


@upon.cloudevent(type="several", reply_to="answers")
def several(items: list[int]) -> list[int]:
    return [item * 2 for item in items]


@pytest.mark.parametrize("kind", ["one", "several"])
def test_replies_are_written_to_their_topic_before_the_answer(kind: str) -> None:
    publisher = Publisher()
    service = Service(spec_of(one, several), publisher=publisher, logged=False)
    service.open()
    items = [item(number, kind) for number in range(9)] + [item(9, kind, partitionkey="bad")]
    began = time.monotonic()
    outcomes = send(create_app(service).test_client(), *items).json
    assert 0.1 <= time.monotonic() - began < 0.8  # confirmed together
    assert ["done"] * 9 + ["overloaded"] == [outcome["outcome"] for outcome in outcomes]
    assert [("answers", number * 2) for number in range(10)] == publisher.written
    assert service.close(5)
