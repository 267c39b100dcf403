"""A trigger host's requests at the service: ordered runs, attempts, records, and who writes replies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

import upon
from support.http import eventually, opened, request, serving
from upon import Event
from upon_runtime.http import create_app
from upon_runtime.service import Service

BATCH = "application/cloudevents-batch+json"
OUTCOMES = "application/vnd.upon.outcomes+json"


class Published:
    """A publisher that keeps the topics it is given."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    def publish(
        self, topic: str, event: Event[Any], key: bytes | None, on_done: Callable[[BaseException | None], None]
    ) -> None:
        self.topics.append(topic)
        on_done(None)


seen: list[Any] = []
begun = threading.Event()
release = threading.Event()


@upon.kafka("numbers", reply_to="doubled", reply_type="double")
@upon.cron("* * * * *", reply_to="ticked", reply_type="tick")
def number(event: Event) -> int | None:
    seen.append(event.data)
    if event.data == "reject":
        raise upon.Reject("no")
    if event.data == "overloaded":
        raise upon.Overloaded("full")
    return None if not isinstance(event.data, int) else event.data * 2


@upon.kafka("info")
def info(event: Event) -> dict[str, Any]:
    seen.append(event.data)
    kafka = event.kafka and [event.kafka.topic, event.kafka.partition, event.kafka.offset, event.kafka.key]
    return {"attempt": event.attempt, "kafka": str(kafka), "extensions": sorted(event.extensions)}


@upon.options(timeout=0.4)
@upon.kafka("slow")
def slow(event: Event) -> None:
    seen.append(event.data)
    time.sleep(event.data)


@upon.options(timeout=0.3)
@upon.kafka("stuck")
def stuck(event: Event) -> None:
    seen.append(event.data)
    if event.data == "stuck":
        begun.set()
        release.wait(20)


@upon.options(concurrency=1, timeout=2.0)
@upon.kafka("alone")
def alone(event: Event) -> None:
    seen.append(event.data)
    if event.data == "stuck":
        begun.set()
        release.wait(20)


@upon.options(timeout=0.3, concurrency=1)
@upon.batched(max_size=10)
@upon.kafka("many")
def many(events: list[Event]) -> None:
    seen.append([event.data for event in events])
    if events[0].data == "stuck":
        begun.set()
        release.wait(20)


@upon.kafka("later")
async def later(event: Event) -> int:
    seen.append(event.data)
    return int(event.data)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    seen.clear()
    begun.clear()
    release.clear()
    yield
    release.set()


@pytest.fixture
def service() -> Iterator[Service]:
    with opened(number, info, slow, stuck, alone, many, later) as found:
        yield found


@pytest.fixture
def client(service: Service) -> Client:
    return create_app(service).test_client()


def item(data: object, **attributes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": data, **attributes}


def headers(*, ordered: bool = True, **more: str) -> dict[str, str]:
    run = {"upon-run": "ordered"} if ordered else {}
    return {"content-type": BATCH, "accept": OUTCOMES, "upon-sender": "triggers", **run, **more}


def send(client: Client, function: str, *items: object, ordered: bool = True, **more: str) -> TestResponse:
    return client.post(f"/functions/{function}", data=json.dumps(items), headers=headers(ordered=ordered, **more))


def kinds(reply: TestResponse) -> list[str]:
    return [answer["outcome"] for answer in json.loads(reply.data)]


# Runs


@pytest.mark.parametrize("function", ["number", "later"])
def test_a_run_is_handled_in_order(client: Client, function: str) -> None:
    reply = send(client, function, *map(item, range(20)))
    assert (200, OUTCOMES, ["done"] * 20) == (reply.status_code, reply.headers["content-type"], kinds(reply))
    assert list(range(20)) == seen


@pytest.mark.parametrize(
    ("bad", "kind"),
    [("reject", "rejected"), ("overloaded", "overloaded"), (None, "malformed")],
)
def test_a_run_ends_at_the_first_that_is_not_done(client: Client, bad: str | None, kind: str) -> None:
    wrong = 3 if bad is None else item(bad)
    reply = send(client, "number", item(1), wrong, item(2), item(3))
    assert ["done", kind, "overloaded", "overloaded"] == kinds(reply)
    assert [1] == [data for data in seen if isinstance(data, int)]
    assert "not handled" in json.loads(reply.data)[2]["reason"]


def test_a_run_for_nobody(client: Client) -> None:
    assert ["unsubscribed", "overloaded"] == kinds(send(client, "nobody", item(1), item(2)))


def test_an_empty_run(client: Client) -> None:
    assert [] == kinds(send(client, "number"))


def test_a_run_of_nothing_but_malformed_events(client: Client) -> None:
    assert ["malformed", "overloaded"] == kinds(send(client, "number", 1, 2))


def test_without_outcomes_a_run_has_one_answer(client: Client) -> None:
    reply = send(client, "number", item(None), item("reject"), item(1), accept="*/*")
    assert 429 == reply.status_code  # the worst of them: what was not handled has to be sent again


def test_a_run_begins_nothing_late(client: Client) -> None:
    reply = send(client, "slow", item(0.06), item(0), item(0))
    assert ["done", "overloaded", "overloaded"] == kinds(reply)
    assert [0.06] == seen


def test_a_handler_that_is_stuck_is_answered_for() -> None:
    with serving(stuck) as (server, service):
        body = json.dumps([item("fine"), item("stuck"), item("never")]).encode()
        reply = request(server.port, "POST", "/functions/stuck", body, headers())
        assert ["done", "timeout", "overloaded"] == [answer["outcome"] for answer in reply.json]
        assert not release.is_set()
        assert service.alive()
        release.set()
        assert eventually(lambda: service.dispatcher.watchdog.late == 0)
    assert ["fine", "stuck"] == seen


def test_a_run_waits_a_little_for_a_place_and_is_busy_then(service: Service, client: Client) -> None:
    other = threading.Thread(target=send, args=(create_app(service).test_client(), "alone", item("stuck")))
    other.start()
    assert begun.wait(10)
    assert ["overloaded", "overloaded"] == kinds(send(client, "alone", item(1), item(2)))
    waiting: list[Any] = []
    third = threading.Thread(target=lambda: waiting.append(kinds(send(client, "alone", item(3)))))
    third.start()
    assert eventually(lambda: bool(service.dispatcher._gates["alone"]._waiting))
    release.set()
    for thread in (other, third):
        thread.join(10)
    assert [["done"]] == waiting
    assert ["stuck", 3] == seen


# Batches


def test_a_batch_handler_gets_all_at_once(client: Client) -> None:
    reply = send(client, "many", *map(item, range(10)), ordered=False)
    assert ["done"] * 10 == kinds(reply)
    assert [list(range(10))] == seen


def test_a_batch_handler_that_is_stuck_is_answered_for() -> None:
    with serving(many) as (server, service):
        body = json.dumps([item("stuck"), item("x")]).encode()
        reply = request(server.port, "POST", "/functions/many", body, headers(ordered=False))
        assert ["timeout", "timeout"] == [answer["outcome"] for answer in reply.json]
        busy = request(server.port, "POST", "/functions/many", body, headers(ordered=False))
        assert ["overloaded", "overloaded"] == [answer["outcome"] for answer in busy.json]
        release.set()
        assert eventually(lambda: service.dispatcher.watchdog.late == 0)


def test_items_that_never_found_a_place_are_busy_and_not_late(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    monkeypatch.setattr("upon_runtime.http.batch.GRACE", -1.7)
    reply = send(client, "alone", item("stuck"), item(1), ordered=False)
    release.set()
    assert ["timeout", "overloaded"] == kinds(reply)


# What stands beside the events


def test_attempts_are_told_to_the_handler(client: Client) -> None:
    reply = send(client, "info", item(1), item(2), item(3), **{"upon-attempt": "4, 2"})
    assert [4, 2, 1] == [answer["event"]["data"]["attempt"] for answer in json.loads(reply.data)]


def test_the_attempt_of_a_single_event(client: Client) -> None:
    one = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", "upon-attempt": "3"}
    reply = client.post("/functions/info", headers=one)
    assert 3 == json.loads(reply.data)["attempt"]


def test_the_record_is_there_again(client: Client) -> None:
    origin = "info 3 17 1700000000123 text .aw=="
    sent = [{**item(None), "data_base64": "eA==", "uponorigin": origin}]
    reply = client.post("/functions/info", data=json.dumps(sent), headers=headers())
    [answer] = json.loads(reply.data)
    assert {"attempt": 1, "kafka": "['info', 3, 17, b'k']", "extensions": []} == answer["event"]["data"]
    assert ["x"] == seen  # value="text"


def test_only_a_trigger_host_says_where_an_event_comes_from(client: Client) -> None:
    one = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
    reply = client.post("/functions/info", headers={**one, "ce-uponorigin": "info 0 1 - json -"})
    assert ("None", ["uponorigin"]) == tuple(json.loads(reply.data)[name] for name in ("kafka", "extensions"))


# Replies


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(
    ("attributes", "reply_type"),
    [({"uponorigin": "numbers 0 1 - json -"}, "double"), ({"type": "dev.knative.sources.ping"}, "tick")],
)
def test_replies_go_to_the_trigger_host_alone(ordered: bool, attributes: dict[str, Any], reply_type: str) -> None:
    publisher = Published()
    with opened(number) as service:
        service.dispatcher.publisher = publisher
        client = create_app(service).test_client()
        reply = send(client, "number", item(2, **attributes), item(3, **attributes), ordered=ordered)
    assert [reply_type] * 2 == [answer["event"]["type"] for answer in json.loads(reply.data)]
    assert [4, 6] == [answer["event"]["data"] for answer in json.loads(reply.data)]
    assert [] == publisher.topics
