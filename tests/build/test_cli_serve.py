"""`func serve` as a real process: its variables, its logs, and the window in which balancers notice the end."""

from __future__ import annotations

import http.client
import json
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.func import Running, func, started

APP = """
import upon

@upon.http("GET /a")
@upon.kafka("numbers")
@upon.cron("* * * * *")
def a(event: upon.Event) -> dict:
    return {"a": 1}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "func.yaml").write_text("name: demo\nfunctions: [app.py]\nrun: {drainDelay: 1.5}\nregistri: x\n")
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def log_line(service: Running, event: str) -> dict[str, object]:
    """The first line of the log with this `event`; every line must be JSON."""
    while True:
        line = service.error_lines.get(timeout=30)
        assert line, "the log ended"
        found: dict[str, object] = json.loads(line)
        if found.get("event") == event:
            return found


def get(url: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_it_serves_where_the_variables_say_and_goes_on_answering_after_sigterm(project: Path) -> None:
    with started("serve", cwd=project, ready="", PORT="0", HOST="127.0.0.1") as service:
        ready = log_line(service, "ready")
        url = str(ready["url"])
        status, body = get(url, "/health/readiness")
        assert (status, json.loads(body)["sources"]) == (200, {})  # no consumer, no schedule: not `direct`

        service.process.send_signal(signal.SIGTERM)
        log_line(service, "stopping")
        assert get(url, "/health/readiness")[0] == 503
        assert get(url, "/a") == (200, '{"a":1}')
        assert service.wait() == 0

    assert (ready["service"], ready["profile"]) == ("demo", "prod")
    assert service.stdout_is_empty()


def test_a_deployments_settings_take_the_place_of_a_profile(project: Path) -> None:
    with (project / "func.yaml").open("a") as file:
        file.write("profiles: {prod: {run: {drainDelay: 30}, kafka: {bootstrap: ['nowhere:1']}}}\n")
    config = json.dumps({"deploy": {"triggers": "direct"}, "run": {"drainDelay": 0}})
    (project / "app.py").write_text(APP.replace('@upon.kafka("numbers")\n', ""))

    with started("serve", cwd=project, ready="", PORT="0", HOST="127.0.0.1", UPON_CONFIG=config) as service:
        ready = log_line(service, "ready")
        assert list(json.loads(get(str(ready["url"]), "/health/readiness")[1])["sources"]) == ["cron * * * * * -> a"]
        assert service.stop() == 0  # at once: not after thirty seconds

    assert "UPON_CONFIG" == ready["profile"]


def test_settings_of_a_deployment_that_can_not_be_read_end_the_start(project: Path) -> None:
    done = func("serve", cwd=project, UPON_CONFIG="{")

    assert (2, "") == (done.returncode, done.stdout)
    assert "UPON_CONFIG: not JSON" in done.stderr


def test_what_lasts_goes_where_the_image_says(project: Path, tmp_path: Path) -> None:
    with (project / "func.yaml").open("a") as file:
        file.write("deploy: {triggers: direct}\n")
    (project / "app.py").write_text(APP.replace('@upon.kafka("numbers")\n', ""))
    state = tmp_path / "state"

    with started("serve", cwd=project, ready="", PORT="0", HOST="127.0.0.1", UPON_STATE_DIR=str(state)) as service:
        log_line(service, "ready")

    assert ["cron.sqlite"] == sorted(path.name for path in state.iterdir() if path.suffix == ".sqlite")
    assert not (project / ".upon").exists()


def test_warnings_are_log_lines(project: Path) -> None:
    with started("serve", cwd=project, ready="", PORT="0", HOST="127.0.0.1") as service:
        log_line(service, "ready")

    assert "did you mean 'registry'?" in service.stderr
    assert all(json.loads(line) for line in service.stderr.splitlines())


def test_direct_triggers_are_read_here(project: Path) -> None:
    with (project / "func.yaml").open("a") as file:
        file.write("deploy: {triggers: direct}\n")
    (project / "app.py").write_text(APP.replace('@upon.kafka("numbers")\n', ""))

    with started("serve", cwd=project, ready="", PORT="0", HOST="127.0.0.1") as service:
        url = str(log_line(service, "ready")["url"])
        assert list(json.loads(get(url, "/health/readiness")[1])["sources"]) == ["cron * * * * * -> a"]
