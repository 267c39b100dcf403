"""What a public service keeps to the cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

import upon
from support.deployments import wanted
from support.http import event_headers, opened
from upon import Event
from upon_build.project.service import closed_paths
from upon_runtime.http import create_app

GATEWAY = {"x-forwarded-for": "203.0.113.9"}


@upon.cloudevent(type="test")
def quick(event: Event) -> None:
    return None


@pytest.mark.parametrize("headers", [GATEWAY, {"forwarded": "for=203.0.113.9"}, {"x-forwarded-for": ""}])
@pytest.mark.parametrize("path", ["/metrics", "/v2", "/v2/models/a", "/%6detrics"])
def test_whoever_comes_through_a_gateway_finds_nothing(path: str, headers: dict[str, str]) -> None:
    with opened(quick, closed=("/metrics", "/v2")) as service:
        reply = create_app(service).test_client().get(path, headers=headers)
    assert (404, "application/problem+json") == (reply.status_code, reply.headers["content-type"])


def test_whoever_asks_the_pod_itself_does() -> None:
    with opened(quick, closed=("/metrics", "/v2")) as service:
        assert 200 == create_app(service).test_client().get("/metrics").status_code


def test_another_spelling_of_the_path_is_no_way_around() -> None:
    with opened(quick, closed=("/metrics",)) as service:
        client = create_app(service).test_client()
        for path in ("//metrics", "/metrics/", "/./metrics", "/x/../metrics"):
            assert 200 != client.get(path, headers=GATEWAY, follow_redirects=True).status_code


def test_everything_else_is_open_to_both() -> None:
    with opened(quick, closed=("/metrics",)) as service:
        client = create_app(service).test_client()
        assert 204 == client.post("/", data=b"{}", headers={**event_headers(), **GATEWAY}).status_code
        assert 404 != client.get("/health/readiness", headers=GATEWAY).status_code


def test_a_name_that_begins_alike_is_open() -> None:
    @upon.http("GET /metrics2")
    def alike() -> dict[str, str]:
        return {}

    with opened(alike, closed=("/metrics",)) as service:
        assert 200 == create_app(service).test_client().get("/metrics2", headers=GATEWAY).status_code


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("", ()),
        ("deploy: {visibility: public}\n", ("/metrics", "/v2")),
        ("deploy: {visibility: public, expose: [/v2]}\n", ("/metrics",)),
        ("deploy: {visibility: public, expose: [/v2, /metrics]}\n", ()),
    ],
)
def test_public_services_alone_keep_something_back(tmp_path: Path, yaml: str, expected: tuple[str, ...]) -> None:
    assert expected == closed_paths(wanted(tmp_path, yaml).settings)
