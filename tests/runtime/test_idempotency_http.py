"""The same event or request posted again, over HTTP."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.test import Client

import upon
from support.handled import idempotent
from upon import Event, Response
from upon_runtime.http import create_app
from upon_runtime.idempotency import MemoryStore
from upon_runtime.service import Service

handled: list[str] = []


@upon.cloudevent(type="test")
def price(event: Event) -> dict[str, Any]:
    handled.append(event.id)
    return {"total": event.data["n"] * 2}


@upon.http("POST /orders/{shop}")
@upon.http("GET /orders/{shop}")
@upon.http("PUT /orders/{shop}")
def order(event: Event) -> Response:
    handled.append(event.id)
    assert event.http is not None
    status = int(event.http.query.get("status", ("201",))[0])
    return Response({"number": len(handled)}, status, {"x-shop": event.http.path_params["shop"]})


@upon.http("POST /nothing")
def nothing(event: Event) -> None:
    handled.append(event.id)


@pytest.fixture
def client() -> Iterator[Client]:
    handled.clear()
    service = Service(idempotent(price, order, nothing), store=MemoryStore())
    service.open()
    yield create_app(service).test_client()
    assert service.close(5)


BINARY = {
    "ce-specversion": "1.0",
    "ce-id": "a",
    "ce-source": "/s",
    "ce-type": "test",
    "content-type": "application/json",
}
STRUCTURED = {"specversion": "1.0", "id": "a", "source": "/s", "type": "test", "data": {"n": 2}}


@pytest.mark.parametrize("path", ["/", "/functions/price"])
def test_a_repeated_event_gets_the_same_answer_in_any_mode(client: Client, path: str) -> None:
    answers = [client.post(path, data=b'{"n": 2}', headers=BINARY) for _ in range(2)]
    answers.append(client.post(path, data=json.dumps(STRUCTURED), content_type="application/cloudevents+json"))
    assert [{"total": 4}] * 3 == [answer.json for answer in answers]
    assert 1 == len({tuple(sorted(answer.headers.items())) for answer in answers})
    assert ["a"] == handled


def test_a_repeated_batch_gets_the_same_replies(client: Client) -> None:
    items = [STRUCTURED, {**STRUCTURED, "id": "b"}]
    answers = [
        client.post("/", data=json.dumps(items), content_type="application/cloudevents-batch+json") for _ in range(2)
    ]
    assert answers[0].json == answers[1].json
    assert [{"total": 4}] * 2 == [json.loads(json.dumps(reply["data"])) for reply in answers[0].json]
    assert ["a", "b"] == sorted(handled)


@pytest.mark.parametrize("key", ["k-1", '"k-1"'])
def test_a_request_with_an_idempotency_key_is_handled_once(client: Client, key: str) -> None:
    answers = [client.post("/orders/a", json={"n": 1}, headers={"Idempotency-Key": key}) for _ in range(3)]
    assert [(201, {"number": 1}, "a")] * 3 == [(a.status_code, a.json, a.headers["x-shop"]) for a in answers]
    assert ["k-1"] == handled


def test_no_content_is_repeated_too(client: Client) -> None:
    answers = [client.post("/nothing", headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [(204, b""), (204, b"")] == [(answer.status_code, answer.data) for answer in answers]
    assert ["k"] == handled


def test_requests_without_a_key_are_all_handled(client: Client) -> None:
    assert [1, 2] == [client.post("/orders/a").json["number"] for _ in range(2)]


@pytest.mark.parametrize(
    ("path", "method", "body"),
    [
        ("/orders/b", "POST", b"{}"),
        ("/orders/a?x=1", "POST", b"{}"),
        ("/orders/a", "PUT", b"{}"),
        ("/orders/a", "POST", b"[]"),
    ],
)
def test_a_key_belongs_to_one_request(client: Client, path: str, method: str, body: bytes) -> None:
    headers = {"Idempotency-Key": "k"}
    client.post("/orders/a", data=b"{}", headers=headers)
    answer = client.open(path, method=method, data=body, headers=headers)
    expected = "the idempotency-key 'k' came with another request before: choose a new one"
    assert (422, expected) == (answer.status_code, answer.json["detail"])
    assert ["k"] == handled


def test_a_form_is_known_again_by_its_parts(client: Client) -> None:
    def post(content: bytes) -> Any:
        form = {"title": "x", "file": (io.BytesIO(content), "a.txt")}
        headers = {"Idempotency-Key": "k"}
        return client.post("/orders/a", data=form, content_type="multipart/form-data", headers=headers)

    assert [201, 201, 422] == [post(content).status_code for content in (b"one", b"one", b"two")]
    assert ["k"] == handled


def test_get_is_handled_every_time(client: Client) -> None:
    assert [1, 2] == [client.get("/orders/a", headers={"Idempotency-Key": "k"}).json["number"] for _ in range(2)]


def test_an_answer_that_says_the_server_failed_is_not_kept(client: Client) -> None:
    for status in (500, 500, 503, 503, 404, 404):
        answer = client.post(f"/orders/a?status={status}", headers={"Idempotency-Key": f"{status}"})
        assert status == answer.status_code
    assert ["500", "500", "503", "503", "404"] == handled


@pytest.mark.parametrize("key", ["", '""', "k" * 256, "k\x7f"])
def test_a_key_that_is_none(client: Client, key: str) -> None:
    answer = client.post("/orders/a", headers={"Idempotency-Key": key})
    assert 400 == answer.status_code
    assert answer.json["detail"].startswith("Idempotency-Key is 1 to 255 printable ASCII characters, not ")


def test_the_readiness_body_names_the_store(client: Client) -> None:
    assert {"store": "memory", "connected": True} == client.get("/health/readiness").json["idempotency"]
