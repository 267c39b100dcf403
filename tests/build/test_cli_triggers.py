"""`func triggers run` as a real process: what it says, what it answers, what it refuses, and what it does not load."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.func import environment, func, started

APP = """
import upon

@upon.cron("* * * * *")
@upon.http("GET /a")
def tick(event: upon.Event) -> None: ...
"""
KAFKA = """
import upon

@upon.kafka("numbers")
def number(event: upon.Event) -> None: ...
"""
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "func.yaml").write_text("name: demo\nfunctions: [app.py]\n")
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def get(url: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_it_says_where_it_is_and_answers_probes(project: Path) -> None:
    with started("triggers", "run", "--sink", NOWHERE, "--port", "0", "-o", "json", cwd=project) as host:
        ready = host.ready
        assert ("demo", "dev", NOWHERE, ["cron * * * * * -> tick"], None) == tuple(
            ready[name] for name in ("service", "profile", "sink", "sources", "kafka")
        )
        assert 0 < ready["importSeconds"] < 30
        assert host.url.startswith("http://127.0.0.1:")
        status, body = get(host.url, "/health/readiness")
        health = json.loads(body)
        assert (200, "ready", ["tick"]) == (status, health["status"], health["functions"])
        assert {"cron * * * * * -> tick", f"sink {NOWHERE}"} == set(health["sources"])
        assert {"url": NOWHERE, "reached": True, "busy_seconds": None, "error": None} == health["sink"]
        assert 200 == get(host.url, "/health/liveness")[0]
        assert f'upon_source_connected{{source="sink {NOWHERE}"}} 1.0'.encode() in get(host.url, "/metrics")[1]
        assert 404 == get(host.url, "/a")[0]  # the routes are the service's
        assert 0 == host.stop()
        assert 0 == host.event("stopped")["exitCode"]


def test_for_people_it_is_a_few_lines(project: Path) -> None:
    with started("triggers", "run", "--sink", NOWHERE, "--port", "0", cwd=project, ready="") as host:
        said = []
        while not said or not said[-1].startswith("Ready"):
            said.append(host.lines.get(timeout=60).rstrip())
        assert 0 == host.stop()
    assert "demo, profile dev, triggers only" == said[0]
    assert "the project's code was imported in" in said[1]
    assert f"  sink   {NOWHERE}" in said
    assert "  cron * * * * * -> tick" in said


def test_with_a_manifest_nothing_is_imported(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    made = func("triggers", "manifest", cwd=project)
    assert 0 == made.returncode, made.stderr
    (project / "manifest.json").write_text(made.stdout)
    (project / "app.py").write_text("raise SystemExit('imported')")
    arguments = ("triggers", "run", "--sink", NOWHERE, "--port", "0", "-o", "json", "--manifest")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for where, file in ((project, "manifest.json"), (elsewhere, str(project / "manifest.json"))):
        with started(*arguments, file, cwd=where) as host:
            assert ("demo", "prod", None) == tuple(host.ready[n] for n in ("service", "profile", "importSeconds"))
            assert 0 == host.stop()


LOADED = """
import os, signal, sys, threading, time

def look():
    deadline = time.monotonic() + 30
    while not any(thread.name.startswith("upon-cron") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    print("LOADED", *sorted(sys.modules), file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=look, daemon=True).start()
from upon_build.cli import main
main(["triggers", "run", "--sink", "http://127.0.0.1:9", "--port", "0"])
"""


def test_neither_the_projects_code_nor_its_models_are_loaded(project: Path) -> None:
    (project / "app.py").write_text(APP + "\nimport mine_only\n")
    (project / "mine_only.py").write_text("import flask\nblueprint = flask.Blueprint('b', __name__)\n")
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=project, env=environment(), capture_output=True, text=True, timeout=60
    )
    line = next(line for line in done.stderr.splitlines() if line.startswith("LOADED"))
    assert set() == {"app", "mine_only", "onnxruntime", "numpy", "upon_runtime.inference"} & set(line.split())


# Refusals


def refused(project: Path, *more: str, **env: str) -> tuple[int, str]:
    done = func("triggers", "run", "--sink", NOWHERE, "--port", "0", *more, cwd=project, **env)
    return done.returncode, done.stderr


def test_exactly_once_is_refused_with_the_reason(project: Path) -> None:
    (project / "app.py").write_text(KAFKA)
    yaml = "name: demo\nfunctions: [app.py]\nkafka: {bootstrap: '127.0.0.1:9'}\ndelivery: {guarantee: exactly-once}\n"
    (project / "func.yaml").write_text(yaml)
    code, said = refused(project)
    assert (2, True) == (code, "can't join the transaction" in said), said
    assert "deploy.triggers: direct" in said


def test_kafka_triggers_need_a_kafka(project: Path) -> None:
    (project / "app.py").write_text(KAFKA)
    code, said = refused(project)
    assert (2, True) == (code, "no Kafka is configured: set kafka.bootstrap" in said), said


def test_a_kafka_that_is_not_there(project: Path) -> None:
    (project / "app.py").write_text(KAFKA)
    code, said = refused(project, "--bootstrap", "127.0.0.1:9")
    assert (4, True) == (code, "127.0.0.1:9" in said), said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sink", "reviews"), "'reviews' is not the URL of a service"),
        (("--manifest", "func.yaml"), "not JSON"),
        (("--profile", "stage"), "has no profile 'stage'"),
    ],
)
def test_wrong_usage(project: Path, arguments: tuple[str, ...], message: str) -> None:
    code, said = refused(project, *arguments)
    assert (2, True) == (code, message in said), said


def test_what_is_wrong_with_the_code_is_told_with_its_place(project: Path) -> None:
    (project / "app.py").write_text("import upon\nimport nowhere\n")
    code, said = refused(project)
    assert (2, True) == (code, "app.py:2" in said), said
