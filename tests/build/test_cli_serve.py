"""`func serve` as a real process: its variables, its logs, and the window in which balancers notice the end."""

from __future__ import annotations

import http.client
import json
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.func import Running, started

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
