"""`func serve` takes what Knative's sources and brokers send, as their senders write it on the wire."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import pytest

from support.func import started

APP = """
import json
import upon

def seen(event):
    key = event.extensions.get("key")
    return {"data": event.data, "type": event.type, "id": event.id, "key": key, "subject": event.subject}

@upon.kafka("orders")
def orders(event: upon.Event):
    if event.data == "bad":
        raise upon.Reject("no order")
    if event.data == "later":
        raise ValueError("not now")
    return seen(event)

@upon.cron("0 3 * * *", overlap="allow")
def nightly(event: upon.Event):
    return seen(event)

@upon.cloudevent(type="com.example.paid")
def paid(event: upon.Event) -> None: ...
"""
YAML = """
name: demo
functions: [app.py]
run: {drainDelay: 0}
deploy: {triggers: eventing}
delivery: {deadLetter: none}
kafka: {bootstrap: ["127.0.0.1:9"]}
"""
# What the dispatcher of KafkaSource makes of a record: no content type, unless the record has that header.
RECORD = {
    "ce-specversion": "1.0",
    "ce-id": "partition:3/offset:42",
    "ce-source": "/apis/v1/namespaces/ml/kafkasources/demo-orders-0a1b2c3d#orders",
    "ce-type": "dev.knative.kafka.event",
    "ce-subject": "partition:3#42",
    "ce-time": "2026-01-02T03:04:05.678Z",
    "ce-key": "customer-7",
    "ce-kafkaheaderuseragent": "shop",
    "prefer": "reply",
}
TICK = {
    "ce-specversion": "1.0",
    "ce-id": "5e3e7e3a-52d7-4a0e-8a1d-3f6a5d0a4a6b",
    "ce-source": "/apis/v1/namespaces/ml/pingsources/demo-nightly-0a1b2c3d",
    "ce-type": "dev.knative.sources.ping",
    "ce-time": "2026-01-02T03:00:00.312904415Z",
}
BROKERED = {
    "ce-specversion": "1.0",
    "ce-id": "a-1",
    "ce-source": "/shop",
    "ce-type": "com.example.paid",
    "ce-knativearrivaltime": "2026-01-02T03:04:05.000000001Z",
    "content-type": "application/json",
    "prefer": "reply",
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "func.yaml").write_text(YAML)
    (folder / "app.py").write_text(APP)
    with started("serve", cwd=folder, ready="", PORT="0", HOST="127.0.0.1") as service:
        while (line := json.loads(service.error_lines.get(timeout=60))).get("event") != "ready":
            pass
        yield str(line["url"])
        assert 0 == service.stop()


def post(url: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request("POST", path, body, dict(headers))
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def test_a_record_as_kafka_source_sends_it(url: str) -> None:
    status, headers, body = post(url, "/functions/orders", RECORD, b'{"item": 1}')
    expected = {
        "data": {"item": 1},
        "type": "dev.knative.kafka.event",
        "id": "partition:3/offset:42",
        "key": "customer-7",
        "subject": "partition:3#42",
    }
    assert (200, expected) == (status, json.loads(body))
    assert "1.0" == headers["ce-specversion"]  # the reply is an event, which KafkaSource throws away


def test_a_record_with_a_content_type_of_its_own(url: str) -> None:
    status, _, body = post(url, "/functions/orders", {**RECORD, "content-type": "text/plain"}, b"plain")
    assert (200, "plain") == (status, json.loads(body)["data"])


def test_a_record_without_a_value(url: str) -> None:
    status, _, body = post(url, "/functions/orders", RECORD, b"")
    assert (200, None) == (status, json.loads(body)["data"])


@pytest.mark.parametrize(("body", "status"), [(b'"bad"', 422), (b'"later"', 500), (b"{no json", 422)])
def test_what_failed_for_good_is_not_sent_again_and_what_may_pass_is(url: str, body: bytes, status: int) -> None:
    """Knative tries again after 404, 408, 409, 429 and 5xx, and after no other."""
    assert status == post(url, "/functions/orders", RECORD, body)[0]


def test_a_tick_as_ping_source_sends_it(url: str) -> None:
    status, _, body = post(url, "/functions/nightly", TICK, b"")
    found = json.loads(body)
    assert (200, None, "dev.knative.sources.ping", TICK["ce-id"]) == (status, found["data"], found["type"], found["id"])


@pytest.mark.parametrize("path", ["/functions/paid", "/"])
def test_an_event_as_a_broker_sends_it(url: str, path: str) -> None:
    status, _, body = post(url, path, BROKERED, b'{"amount": 3}')
    assert (204, b"") == (status, body)


def test_an_event_that_is_for_nobody(url: str) -> None:
    """It is not sent again: 422 goes to the dead letters of whoever sent it."""
    assert 422 == post(url, "/", {**BROKERED, "ce-type": "com.example.other"}, b"{}")[0]
    assert 422 == post(url, "/functions/gone", BROKERED, b"{}")[0]
