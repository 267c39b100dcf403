"""When the way around Flask is taken, when it is not, and what is admitted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, request, request_started

import upon
from support.http import event_headers, eventually, opened
from upon import Event
from upon_runtime.http import create_app
from upon_runtime.http.fastpath import FastPath


@upon.http("POST /route")
@upon.cloudevent(type="test")
def quick(event: Event) -> None:
    return None


def hook(name: str) -> Blueprint:
    """A blueprint with one application-wide hook, which counts its calls in `blueprint.calls`."""
    blueprint: Any = Blueprint(f"hook_{name}", __name__)
    blueprint.calls = []

    def count(argument: Any = None) -> Any:
        blueprint.calls.append(request.path)
        return argument if isinstance(argument, Response) else None

    getattr(blueprint, name)(count)
    return blueprint


@pytest.fixture
def flask_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that go through Flask's own wsgi_app."""
    paths: list[str] = []
    original = Flask.wsgi_app

    def counted(self: Flask, environ: Any, start_response: Any) -> Any:
        paths.append(environ["PATH_INFO"])
        return original(self, environ, start_response)

    monkeypatch.setattr(Flask, "wsgi_app", counted)
    return paths


def post(app: Flask, path: str = "/") -> int:
    return app.test_client().post(path, data=b"{}", headers=event_headers()).status_code


def test_our_routes_go_around_flask(flask_calls: list[str]) -> None:
    with opened(quick) as service:
        app = create_app(service)
        assert [204, 204, 204] == [post(app, path) for path in ("/", "/functions/quick", "/route")]
        assert 200 == app.test_client().get("/health/readiness").status_code
        assert [] == flask_calls
        assert 404 == app.test_client().get("/elsewhere").status_code
    assert ["/elsewhere"] == flask_calls


@pytest.mark.parametrize("name", ["before_app_request", "after_app_request", "teardown_app_request"])
def test_a_hook_sees_every_request(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "upon.http")
    blueprint: Any = hook(name)
    with opened(quick, blueprints=(blueprint,)) as service:
        app = create_app(service)
        assert [204, 204] == [post(app), post(app, "/route")]
        assert 200 == app.test_client().get("/metrics").status_code
    assert ["/", "/route", "/metrics"] == blueprint.calls
    assert ["the application has request hooks"] == [r.getMessage().split(":")[0] for r in caplog.records]


def test_a_hook_of_one_blueprint_does_not_matter(flask_calls: list[str]) -> None:
    blueprint = Blueprint("own", __name__)
    blueprint.before_request(lambda: None)
    with opened(quick, blueprints=(blueprint,)) as service:
        assert 204 == post(create_app(service))
    assert [] == flask_calls


def test_a_hook_may_read_the_body_and_refuse() -> None:
    blueprint = Blueprint("guard", __name__)

    @blueprint.before_app_request
    def guard() -> tuple[str, int] | None:
        return ("no", 401) if request.get_data() != b"{}" else None

    with opened(quick, blueprints=(blueprint,)) as service:
        client = create_app(service).test_client()
        assert 204 == client.post("/", data=b"{}", headers=event_headers()).status_code
        assert 401 == client.post("/", data=b"[]", headers=event_headers()).status_code


def test_a_signal_receiver_sees_every_request(flask_calls: list[str]) -> None:
    with opened(quick) as service:
        app = create_app(service)
        assert (204, []) == (post(app), flask_calls)
        with request_started.connected_to(lambda sender: None):
            assert (204, ["/"]) == (post(app), flask_calls)


class Wrapper:
    def __init__(self, inner: Callable[..., Any]) -> None:
        self.inner, self.calls = inner, 0

    def __call__(self, environ: Any, start_response: Any) -> Any:
        self.calls += 1
        return self.inner(environ, start_response)


@pytest.mark.parametrize("when", ["before", "after"])
def test_wrapped_again(when: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "upon.http")
    blueprint = Blueprint("wrapping", __name__)
    wrappers: list[Wrapper] = []

    def wrap(app: Flask) -> None:
        wrappers.append(Wrapper(app.wsgi_app))
        app.wsgi_app = wrappers[0]  # type: ignore[method-assign]

    if when == "before":
        blueprint.record_once(lambda state: wrap(state.app))
    with opened(quick, blueprints=(blueprint,)) as service:
        app = create_app(service)
        if when == "after":
            wrap(app)
        assert [204, 204] == [post(app), post(app)]
    assert 2 == wrappers[0].calls
    assert ["the application's wsgi_app is wrapped"] == [r.getMessage().split(":")[0] for r in caplog.records]


def test_a_blueprint_has_its_routes_and_its_errors() -> None:
    blueprint = Blueprint("pages", __name__)
    blueprint.get("/page", endpoint="page")(lambda: "hello")
    blueprint.get("/route", endpoint="route")(lambda: "the same path, another method")
    blueprint.get("/broken", endpoint="broken")(lambda: 1 / 0)
    with opened(quick, blueprints=(blueprint,)) as service:
        app = create_app(service)
        client = app.test_client()
        assert "hello" == client.get("/page").text
        assert "the same path, another method" == client.get("/route").text
        assert 204 == post(app, "/route")
        broken = client.get("/broken")
        assert (500, "application/problem+json") == (broken.status_code, broken.headers["content-type"])
        assert "division" not in broken.text


def test_a_bug_of_ours_is_an_error_and_frees_its_slot(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(quick, admission=1) as service:
        app = create_app(service)
        with monkeypatch.context() as patch:
            patch.setattr(service.dispatcher, "deliver", lambda *a, **k: 1 / 0)
            reply = app.test_client().post("/", data=b"{}", headers=event_headers())
        assert (500, "error") == (reply.status_code, reply.headers["upon-outcome"])
        assert "ZeroDivisionError" in caplog.text
        assert 204 == post(app)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opening = threading.Event()
    yield opening
    opening.set()


@pytest.mark.parametrize("blueprints", [(), (hook("before_app_request"),)], ids=["fast path", "Flask"])
def test_over_the_limit_is_429_at_once(gate: threading.Event, blueprints: tuple[Blueprint, ...]) -> None:
    @upon.cloudevent(type="test")
    def waiting(event: Event) -> None:
        assert gate.wait(10)

    with opened(waiting, admission=2, blueprints=blueprints) as service, ThreadPoolExecutor(2) as pool:
        app = create_app(service)
        fast: Any = app.wsgi_app
        assert isinstance(fast, FastPath)
        running = [pool.submit(post, app) for _ in range(2)]
        assert eventually(lambda: fast.admission.in_flight == 2)
        refused = app.test_client().post("/", data=b"{}", headers=event_headers())
        assert (429, "overloaded", "1") == (
            refused.status_code,
            refused.headers["upon-outcome"],
            refused.headers["retry-after"],
        )
        page = app.test_client().get("/metrics").text
        assert 'upon_events_total{function="",outcome="overloaded"} 1.0' in page
        gate.set()
        assert [204, 204] == [future.result(10) for future in running]
        assert 0 == fast.admission.in_flight
        assert 204 == post(app)


def test_a_streaming_answer_holds_its_slot() -> None:
    blueprint = Blueprint("stream", __name__)
    blueprint.get("/stream")(lambda: Response(iter(["a", "b"])))
    with opened(quick, admission=1, blueprints=(blueprint,)) as service:
        app = create_app(service)
        fast: Any = app.wsgi_app
        streaming = app.test_client().get("/stream", buffered=False)
        assert 1 == fast.admission.in_flight
        assert "ab" == streaming.text
        streaming.close()
        assert 0 == fast.admission.in_flight
