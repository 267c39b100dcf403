from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

import upon
from support.models import double
from upon import Done, Event, Failed, UponError, UsageError
from upon.testing import Client

reviews = upon.Topic("reviews")


@upon.http("POST /score/{model}")
@upon.cloudevent(type="scored")
def score(event: Event) -> dict[str, Any]:
    return {"text": event.data["text"].upper(), "model": event.http.path_params["model"] if event.http else None}


@upon.cloudevent(type="async")
async def later(data: dict) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"n": data["n"] + 1}


@upon.http("DELETE /fault")
@upon.cloudevent(type="fault")
def fault() -> None:
    raise ValueError("no")


@upon.cloudevent()
def send() -> None:
    reviews.send({"n": 1}, key="k")


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set() == set(threading.enumerate()) - before


def test_http_is_flasks_test_client() -> None:
    with Client(score, fault) as client:
        response = client.http.post("/score/big", json={"text": "ok"})
        assert (200, {"text": "OK", "model": "big"}) == (response.status_code, response.json)
        assert [405, 404, 500] == [
            client.http.get("/score/big").status_code,
            client.http.put("/nowhere").status_code,
            client.http.delete("/fault").status_code,
        ]
        assert "ready" == client.http.get("/health/readiness").json["status"]  # type: ignore[index]
        headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/me", "ce-type": "scored"}
        answer = client.http.request("POST", "/", json={"text": "a"}, headers=headers)
        assert ("functions.score.reply", "1") == (answer.headers["ce-type"], answer.headers["ce-causationid"])


@pytest.mark.parametrize(
    ("event", "function", "expected"),
    [
        (Event.of({"text": "a"}, type="scored"), None, {"text": "A", "model": None}),
        (Event.of({"n": 1}, type="async"), None, {"n": 2}),
        ({"n": 41}, "later", {"n": 42}),
    ],
)
def test_send_returns_the_reply(event: object, function: str | None, expected: dict[str, Any]) -> None:
    with Client(score, later, fault) as client:
        outcome = client.send(event, function=function)
        assert isinstance(outcome, Done)
        assert isinstance(outcome.reply, Event)
        assert expected == outcome.reply.data


@pytest.mark.parametrize(
    ("event", "function", "kind", "error"),
    [
        ({}, "fault", "error", "ValueError: no"),
        ({}, "nothing", "unsubscribed", "there is no function 'nothing'"),
        (Event.of({}, type="other"), None, "unsubscribed", "no function subscribes to type 'other'"),
        (Event.of(b"{", type="async", datacontenttype="application/json"), None, "invalid", "not JSON"),
    ],
)
def test_send_returns_failures(event: object, function: str | None, kind: str, error: str) -> None:
    with Client(score, later, fault) as client:
        outcome = client.send(event, function=function)
        assert isinstance(outcome, Failed)
        assert kind == outcome.kind
        assert error in outcome.error


def test_clients_nest_and_leave_no_binding() -> None:
    with Client(send) as outer:
        with Client(send) as inner:
            inner.send({})
        outer.send({})
        outer.send({})
        assert (1, 2) == (len(inner.kafka.records("reviews")), len(outer.kafka.records("reviews")))
    with pytest.raises(UponError, match="has no broker here"):
        reviews.send({})


def test_a_model_is_batched_inside_and_unbound_outside(tmp_path: Path) -> None:
    model = upon.Model("double", double(tmp_path / "double.onnx"))

    @upon.http("POST /run")
    def run(data: dict) -> dict[str, Any]:
        return {"y": model(x=data["x"])["y"]}

    with Client(run) as client:
        found: dict[int, Any] = {}
        threads = [
            threading.Thread(target=lambda n=n: found.update({n: client.http.post("/run", json={"x": n}).json}))
            for n in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert {n: {"y": 2.0 * n} for n in range(16)} == found
        page = client.http.get("/metrics").text
    assert 'upon_inference_batch_size_sum{model="double"} 16.0' in page
    assert model._opened is None
    assert np.float32(8) == model(x=4)["y"]  # without a client it opens by itself
    model._opened.close()  # type: ignore[attr-defined]
    model._bind(None)


def test_inside_an_event_loop_as_in_a_notebook(tmp_path: Path) -> None:
    model = upon.Model("double", double(tmp_path / "double.onnx"))

    @upon.http("POST /run")
    @upon.kafka("numbers", reply_to="doubled")
    def run(data: dict) -> dict[str, Any]:
        return {"y": model(x=data["x"])["y"]}

    async def cell() -> None:
        client = Client(run).open()
        try:
            assert {"y": 4.0} == client.http.post("/run", json={"x": 2}).json
            outcome = client.send({"x": 3})
            assert isinstance(outcome, Done)
            client.kafka.publish("numbers", {"x": 4})
            client.settle()
            assert [{"y": 8.0}] == [record.data for record in client.kafka.records("doubled")]
        finally:
            client.close()

    asyncio.run(cell())


def test_resources_are_closed_after_an_error() -> None:
    acts: list[str] = []

    @upon.resource
    def pool() -> Iterator[str]:
        acts.append("open")
        yield "pool"
        acts.append("close")

    @upon.cloudevent()
    def use() -> str:
        return pool()

    def fail() -> None:
        with Client(use) as client:
            client.send({})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert ["open", "close"] == acts


PROJECT = """
    import os
    import upon
    import helper

    TOKEN = os.environ.get("TOKEN")

    @upon.http("GET /who")
    def who() -> dict:
        return {"name": helper.NAME, "token": TOKEN}
"""


def make(folder: Path, name: str, more: str = "", code: str = PROJECT) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "func.yaml").write_text(f"name: {name}\nfunctions: [functions.py]\n{more}")
    (folder / "functions.py").write_text(dedent(code))
    (folder / "helper.py").write_text(f"NAME = {name!r}\n")
    return folder


@pytest.mark.parametrize("how", ["folder", "file", "text"])
def test_a_project_from_disk(tmp_path: Path, how: str) -> None:
    folder = make(tmp_path, "shop", "run: {envs: [{name: TOKEN, value: '{{ secret:hub:token }}'}]}\n")
    target = {"folder": folder, "file": folder / "func.yaml", "text": str(folder)}[how]
    with Client(target, env={"HUB_TOKEN": "s3cret"}) as client:
        assert "shop" == client.http.get("/who").json["name"]  # type: ignore[index]


def test_two_projects_with_the_same_module_names(tmp_path: Path) -> None:
    path, modules = list(sys.path), set(sys.modules)
    for name in ("one", "two"):
        with Client(make(tmp_path / name, name)) as client:
            assert name == client.http.get("/who").json["name"]  # type: ignore[index]
    assert path == sys.path
    assert {"functions", "helper"}.isdisjoint(set(sys.modules) - modules)


def test_a_project_with_a_fault_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    make(tmp_path, "shop", code="import upon\nraise ValueError('at import')\n")
    environment, path = dict(os.environ), list(sys.path)
    with pytest.raises(UsageError, match=r"functions.py:2: functions.py can't be imported: ValueError: at import"):
        Client(tmp_path).open()
    assert (environment, path) == (dict(os.environ), sys.path)


def test_a_model_that_does_not_open_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    bad = upon.Model("bad", tmp_path / "bad.onnx")

    @upon.http("POST /run")
    def run(data: dict) -> None:
        bad(x=1)

    with pytest.raises(upon.ModelError):
        Client(run).open()
    assert bad._opened is None


def test_a_function_without_a_decorator_is_refused() -> None:
    with pytest.raises(UsageError, match=r"not <function .*: decorate it, for instance"), Client(len_of):  # type: ignore[arg-type]
        pass


def len_of(data: str) -> int:
    return len(data)


def test_a_client_that_is_not_open_says_so() -> None:
    client = Client(score)
    for use in (lambda: client.send({}), client.settle, lambda: client.advance(1), lambda: client.dead("a")):
        with pytest.raises(UsageError, match="this client is not open"):
            use()
    with client, pytest.raises(UsageError, match="open already"):
        client.open()
    with pytest.raises(UsageError, match="not open"):
        client.send({})


def test_a_start_without_timezone_is_refused() -> None:
    from datetime import datetime

    with pytest.raises(UsageError, match="has no timezone"):
        Client(score, at=datetime(2025, 1, 1))


def test_opening_takes_no_time() -> None:
    with Client(score):
        pass
    began = time.monotonic()
    for _ in range(3):
        with Client(score) as client:
            client.send({"text": "a"})
    assert time.monotonic() - began < 3.0
