"""Liveness, readiness and metrics."""

from __future__ import annotations

import json

import pytest

import upon
from support.http import event_headers, opened
from upon import Event
from upon_runtime.http import create_app


@upon.cloudevent(type="test")
def quick(event: Event) -> None:
    return None


def test_a_ready_service() -> None:
    with opened(quick) as service:
        client = create_app(service).test_client()
        ready, alive = client.get("/health/readiness"), client.get("/health/liveness")
    assert (200, 200) == (ready.status_code, alive.status_code)
    assert {"status": "ready", "functions": ["quick"]}.items() <= json.loads(ready.data).items()
    assert "no-store" == ready.headers["cache-control"]


@pytest.mark.parametrize("state", ["starting", "draining"])
def test_not_ready_is_503(state: str) -> None:
    with opened(quick) as service:
        client = create_app(service).test_client()
        if state == "draining":
            service.begin_drain()
        else:
            service.ready = False
        ready, alive = client.get("/health/readiness"), client.get("/health/liveness")
    assert (503, state, 200) == (ready.status_code, json.loads(ready.data)["status"], alive.status_code)


def test_a_stuck_service_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(quick) as service:
        monkeypatch.setattr(service, "alive", lambda: False)
        assert 503 == create_app(service).test_client().get("/health/liveness").status_code


def test_probes_need_no_slot() -> None:
    with opened(quick, admission=1) as service:
        app = create_app(service)
        assert app.wsgi_app.admission.enter()  # type: ignore[attr-defined]
        client = app.test_client()
        assert 429 == client.post("/", data=b"{}", headers=event_headers()).status_code
        for path in ("/health/liveness", "/health/readiness", "/metrics"):
            assert 200 == client.get(path).status_code


def test_metrics_count_events() -> None:
    with opened(quick) as service:
        client = create_app(service).test_client()
        for _ in range(3):
            client.post("/", data=b"{}", headers=event_headers())
        page = client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert 'upon_events_total{function="quick",outcome="done"} 3.0' in page.get_data(as_text=True)
