"""CloudEvents over HTTP: every row of the outcome table, on the fast path and through Flask."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Blueprint
from werkzeug.test import Client, TestResponse

import upon
from support.http import event_headers, opened
from upon import Event
from upon._outcome import KINDS
from upon_runtime.http import create_app


@upon.cloudevent(type="silent")
def silent(event: Event) -> None:
    return None


@upon.cloudevent(type="echo", reply_type="echoed")
def echo(event: Event) -> dict[str, Any]:
    return {"got": event.data}


@upon.cloudevent(type="typed")
def typed(data: dict[str, int]) -> None:
    return None


@upon.cloudevent(type="raising")
def raising(event: Event) -> None:
    match event.data:
        case "reject":
            raise upon.Reject("no such user", status=404)
        case "retry":
            raise upon.Retry("later", after=2.2)
        case "soon":
            raise upon.Retry
        case "busy":
            raise upon.Overloaded("the queue is full", after=0.1)
        case "draining":
            raise upon.Draining("bye")
        case _:
            raise ValueError("secret detail of line 7")


@upon.options(timeout=0.1)
@upon.cloudevent(type="slow")
def slow(event: Event) -> None:
    time.sleep(0.3)


hooks = Blueprint("hooks", __name__)


@hooks.before_app_request
def look() -> None:
    """Its presence sends every request through Flask."""


FUNCTIONS = (silent, echo, typed, raising, slow)


@pytest.fixture(params=["fast path", "Flask"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    blueprints = (hooks,) if request.param == "Flask" else ()
    with opened(*FUNCTIONS, max_body_size=1000, blueprints=blueprints) as service:
        yield create_app(service).test_client()


def send(client: Client, type: str, data: object = None, path: str = "/", **attributes: str) -> TestResponse:
    return client.post(path, data=json.dumps(data), headers=event_headers(type=type, **attributes))


# outcome, status, what is sent, Retry-After
ROWS = [
    pytest.param("malformed", 400, {"type": "silent", "specversion": "0.3"}, None, id="malformed"),
    pytest.param("invalid", 422, {"type": "typed", "data": {"a": "x"}}, None, id="invalid"),
    pytest.param("unsubscribed", 422, {"type": "unknown"}, None, id="unsubscribed"),
    pytest.param("rejected", 422, {"type": "raising", "data": "reject"}, None, id="rejected"),
    pytest.param("too_large", 413, {"type": "silent", "data": "x" * 1000}, None, id="too_large"),
    pytest.param("error", 500, {"type": "raising", "data": "error"}, None, id="error"),
    pytest.param("retry", 503, {"type": "raising", "data": "retry"}, "3", id="retry"),
    pytest.param("retry", 503, {"type": "raising", "data": "soon"}, "1", id="retry without after"),
    pytest.param("timeout", 504, {"type": "slow"}, None, id="timeout"),
    pytest.param("overloaded", 429, {"type": "raising", "data": "busy"}, "1", id="overloaded"),
    pytest.param("draining", 503, {"type": "raising", "data": "draining"}, "1", id="draining"),
]


@pytest.mark.parametrize(("outcome", "status", "sent", "retry_after"), ROWS)
def test_each_failure_has_its_row(
    client: Client, outcome: str, status: int, sent: dict[str, Any], retry_after: str | None
) -> None:
    reply = send(client, **sent)
    assert (status, outcome) == (reply.status_code, reply.headers["upon-outcome"])
    assert reply.headers["content-type"] == "application/problem+json"
    assert retry_after == reply.headers.get("retry-after")
    problem = json.loads(reply.data)
    assert (f"urn:upon:outcome:{outcome}", KINDS[outcome].title, status) == (
        problem["type"],
        problem["title"],
        problem["status"],
    )
    assert problem["detail"]
    assert "Traceback" not in problem["detail"]


def test_the_rows_are_all_of_the_table() -> None:
    unheard = {"done", "crashed"}  # who crashed gives no answer
    assert {row.values[0] for row in ROWS} | unheard == set(KINDS)
    assert all(KINDS[str(row.values[0])].status == row.values[1] for row in ROWS)


def test_done_without_reply_is_empty(client: Client) -> None:
    reply = send(client, "silent")
    assert (204, b"", "done") == (reply.status_code, reply.data, reply.headers["upon-outcome"])
    assert "content-type" not in reply.headers


def test_done_with_reply_is_an_event_in_binary_mode(client: Client) -> None:
    reply = send(client, "echo", [1, 2], subject="s")
    assert 200 == reply.status_code
    assert {"got": [1, 2]} == json.loads(reply.data)
    expected = {"ce-type": "echoed", "ce-source": "/svc/echo", "ce-subject": "s", "ce-causationid": "1"}
    expected |= {"content-type": "application/json", "upon-outcome": "done", "ce-specversion": "1.0"}
    assert expected == {name: reply.headers[name] for name in expected}


def test_invalid_lists_pointers(client: Client) -> None:
    problem = json.loads(send(client, "typed", {"a": "x"}).data)
    assert ["/a"] == [entry["pointer"] for entry in problem["pointers"]]
    assert all(entry["reason"] for entry in problem["pointers"])


def test_malformed_names_the_attribute(client: Client) -> None:
    headers = event_headers()
    del headers["ce-id"]
    assert "ce-id" in json.loads(client.post("/", data=b"{}", headers=headers).data)["detail"]


@pytest.mark.parametrize("body", [b"", b"hello", b'{"a": 1}'])
def test_a_request_that_is_no_event_is_told_how(client: Client, body: bytes) -> None:
    reply = client.post("/", data=body)
    assert (400, "malformed") == (reply.status_code, reply.headers["upon-outcome"])
    assert "ce-id" in json.loads(reply.data)["detail"]


def test_by_name_no_subscription_is_needed(client: Client) -> None:
    assert 204 == send(client, "whatever", path="/functions/silent").status_code


def test_an_unknown_function_is_unsubscribed(client: Client) -> None:
    reply = send(client, "silent", path="/functions/nobody")
    assert (422, "unsubscribed") == (reply.status_code, reply.headers["upon-outcome"])
    assert "silent" in json.loads(reply.data)["detail"]


def test_an_event_without_data(client: Client) -> None:
    headers = event_headers(type="echo")
    del headers["content-type"]
    assert {"got": None} == json.loads(client.post("/", headers=headers).data)


@pytest.mark.parametrize(
    "content_type", ["application/cloudevents+json", "Application/CloudEvents+JSON; charset=utf-8"]
)
def test_structured_mode(client: Client, content_type: str) -> None:
    event = {"specversion": "1.0", "id": "7", "source": "/s", "type": "echo", "data": {"a": 1}}
    reply = client.post("/", data=json.dumps(event), headers={"content-type": content_type, "ce-id": "stray"})
    assert (200, "7") == (reply.status_code, reply.headers["ce-causationid"])
    assert {"got": {"a": 1}} == json.loads(reply.data)


def test_structured_mode_that_is_no_json(client: Client) -> None:
    reply = client.post("/", data=b"{", headers={"content-type": "application/cloudevents+json"})
    assert (400, "malformed") == (reply.status_code, reply.headers["upon-outcome"])


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 405, "POST"),
        ("PUT", "/functions/echo", 405, "POST"),
        ("POST", "/metrics", 405, "GET"),
        ("GET", "/nowhere", 404, None),
        ("POST", "/functions/", 404, None),
    ],
)
def test_wrong_method_and_path(client: Client, method: str, path: str, status: int, allow: str | None) -> None:
    reply = client.open(path, method=method)
    assert (status, "application/problem+json") == (reply.status_code, reply.headers["content-type"])
    assert status == json.loads(reply.data)["status"]
    assert allow is None or allow in reply.headers["allow"]


def test_get_on_the_root_tells_how_to_send(client: Client) -> None:
    assert "curl -H 'ce-specversion: 1.0'" in json.loads(client.get("/").data)["detail"]


def test_before_it_is_ready_a_service_is_draining() -> None:
    with opened(silent) as service:
        service.ready = False
        reply = send(create_app(service).test_client(), "silent")
    assert (503, "draining", "1") == (reply.status_code, reply.headers["upon-outcome"], reply.headers["retry-after"])


def test_while_draining_events_are_still_taken(client: Client) -> None:
    with opened(silent) as service:
        service.begin_drain()
        assert 204 == send(create_app(service).test_client(), "silent").status_code


def test_refusals_are_counted() -> None:
    with opened(silent) as service:
        client = create_app(service).test_client()
        client.post("/", data=b"no event")
        send(client, "unknown")
        page = client.get("/metrics").get_data(as_text=True)
    for kind in ("malformed", "unsubscribed"):
        assert f'upon_events_total{{function="",outcome="{kind}"}} 1.0' in page
