"""Plain HTTP routes: the request as an event, the result as a response."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Blueprint
from werkzeug.test import Client

import upon
from support.http import opened
from upon import Event, Response
from upon_runtime.http import create_app

seen: list[Event] = []


@upon.http("POST /look/{kind}/at/{id}")
@upon.http("GET /look/{kind}/at/{id}")
@upon.http("POST /look")
@upon.http("POST /größe/{name}")
@upon.http("POST /größe")
def look(event: Event) -> None:
    seen.append(event)


@upon.http("POST /give")
def give(event: Event) -> Any:
    match event.data:
        case "event":
            return Event.of({"a": 1}, id="9", type="made")
        case "response":
            return Response({"a": 1}, 201, {"Location": "/x/1"}, "application/vnd.a+json")
        case "text":
            return Response("hällo", content_type="text/plain; charset=utf-8")
        case "no content":
            return Response(status=204)
        case "not found":
            return Response({"missing": 1}, 404)
        case "bad header":
            return Response(1, headers={"x-a": "a\r\nset-cookie: b"})
        case "own length":
            return Response(1, headers={"Content-Length": "5"})
        case "nan":
            return Response(float("nan"))
        case "reject":
            raise upon.Reject("gone", status=410)
        case "bytes":
            return b"\x00\x01"
        case other:
            return other


@upon.http("PUT /typed")
def typed(data: dict[str, int]) -> int:
    return sum(data.values())


hooks = Blueprint("hooks", __name__)
hooks.after_app_request(lambda response: response)


@pytest.fixture(params=["fast path", "Flask"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    seen.clear()
    with opened(look, give, typed, blueprints=(hooks,) if request.param == "Flask" else ()) as service:
        yield create_app(service).test_client()


def test_the_event_of_a_request(client: Client) -> None:
    reply = client.post(
        "/look/cat/at/a%20b?q=1&q=2&empty=",
        data=b'{"a": 1}',
        headers={"content-type": "application/json", "X-One": "1"},
    )
    assert (204, b"") == (reply.status_code, reply.data)
    event = seen[0]
    assert ("upon.http.request", "/svc/look/{kind}/at/{id}", "application/json") == (
        event.type,
        event.source,
        event.datacontenttype,
    )
    assert 4 == uuid.UUID(event.id).version
    assert ({"a": 1}, b'{"a": 1}') == (event.data, event.body)
    http = event.http
    assert http is not None
    assert ("POST", "/look/cat/at/a b") == (http.method, http.path)
    assert {"kind": "cat", "id": "a b"} == http.path_params
    assert {"q": ("1", "2"), "empty": ("",)} == http.query
    assert {"x-one": "1", "content-type": "application/json", "content-length": "8"}.items() <= http.headers.items()


def test_a_get_has_no_data(client: Client) -> None:
    assert 204 == client.get("/look/a/at/b").status_code
    assert (None, b"", {}) == (seen[0].data, seen[0].body, seen[0].http.query if seen[0].http else None)


@pytest.mark.parametrize("path", ["/größe", "/größe/ñ"])
def test_paths_beyond_ascii(client: Client, path: str) -> None:
    assert 204 == client.post(path).status_code
    assert seen[0].http is not None
    assert path == seen[0].http.path
    assert path.endswith(seen[0].http.path_params.get("name", ""))


def test_a_form(client: Client) -> None:
    client.post("/look", data={"a": "1", "b": "x y"})
    assert (b"a=1&b=x+y", b"a=1&b=x+y") == (seen[0].body, seen[0].data)


def test_a_multipart_form(client: Client) -> None:
    client.post("/look", data={"note": "hi", "file": (io.BytesIO(b"\xff\x00"), "a.bin", "application/x-b")})
    assert seen[0].http is not None
    field, file = seen[0].http.files
    assert ("note", None, b"hi") == (field.name, field.filename, field.body)
    assert ("file", "a.bin", "application/x-b", b"\xff\x00") == (
        file.name,
        file.filename,
        file.content_type,
        file.body,
    )


def test_a_broken_multipart_form(client: Client) -> None:
    reply = client.post("/look", data=b"xxx", headers={"content-type": "multipart/form-data; boundary=b"})
    assert 400 == reply.status_code
    assert "multipart" in json.loads(reply.data)["detail"]


@pytest.mark.parametrize(
    ("data", "status", "content_type", "body"),
    [
        ({"b": [1]}, 200, "application/json", b'{"b":[1]}'),
        ([], 200, "application/json", b"[]"),
        (None, 204, None, b""),
        ("response", 201, "application/vnd.a+json", b'{"a":1}'),
        ("text", 200, "text/plain; charset=utf-8", "hällo".encode()),
        ("no content", 204, None, b""),
        ("not found", 404, "application/json", b'{"missing":1}'),
        ("bytes", 200, "application/octet-stream", b"\x00\x01"),
    ],
)
def test_results(client: Client, data: object, status: int, content_type: str | None, body: bytes) -> None:
    reply = client.post("/give", json=data)
    assert (status, content_type, body) == (reply.status_code, reply.headers.get("content-type"), reply.data)
    assert not [name for name in reply.headers if name[0].lower().startswith("ce-")]


def test_headers_of_a_response(client: Client) -> None:
    assert "/x/1" == client.post("/give", json="response").headers["location"]


def test_an_event_goes_out_in_binary_mode(client: Client) -> None:
    reply = client.post("/give", json="event")
    assert (200, "9", "made") == (reply.status_code, reply.headers["ce-id"], reply.headers["ce-type"])
    assert {"a": 1} == json.loads(reply.data)


@pytest.mark.parametrize(
    ("data", "told"),
    [("bad header", "x-a"), ("own length", "content-length"), ("nan", "nan at the top has no JSON form")],
)
def test_a_response_that_can_not_be_sent_is_an_error(client: Client, data: str, told: str) -> None:
    reply = client.post("/give", json=data)
    assert (500, "error") == (reply.status_code, reply.headers["upon-outcome"])
    assert told in json.loads(reply.data)["detail"]


def test_reject_may_choose_the_status(client: Client) -> None:
    reply = client.post("/give", json="reject")
    assert (410, "rejected", 410) == (
        reply.status_code,
        reply.headers["upon-outcome"],
        json.loads(reply.data)["status"],
    )


def test_validation(client: Client) -> None:
    assert b"3" == client.put("/typed", json={"a": 1, "b": 2}).data
    reply = client.put("/typed", json={"a": "x"})
    assert (422, "/a") == (reply.status_code, json.loads(reply.data)["pointers"][0]["pointer"])
    assert 422 == client.put("/typed", data=b"{", headers={"content-type": "application/json"}).status_code


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/look/a/at/b"), ("GET", "/give")])
def test_another_method_is_405(client: Client, method: str, path: str) -> None:
    reply = client.open(path, method=method)
    assert (405, "application/problem+json") == (reply.status_code, reply.headers["content-type"])
    assert "POST" in reply.headers["allow"]


def test_head_runs_the_get_route(client: Client) -> None:
    assert 204 == client.head("/look/a/at/b").status_code
    assert seen[0].http is not None
    assert "HEAD" == seen[0].http.method
