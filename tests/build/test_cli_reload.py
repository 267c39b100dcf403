"""`func run --reload`: a change restarts the service, the broker stays, and the child never outlives the parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from support.func import Running, func, running, started
from upon_build.cli.exits import Exit

pytest.importorskip("watchfiles", reason="needs watchfiles: pip install 'upon[dev]'")

APP = """
import upon

@upon.kafka('a')
@upon.http('GET /version')
def version(event: upon.Event) -> dict:
    return {'v': 1}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "func.yaml").write_text("name: demo\nfunctions: [app.py]\n")
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def version(run: Running) -> int:
    with urllib.request.urlopen(f"{run.url}/version", timeout=10) as response:
        return int(json.load(response)["v"])


def wait_for_stderr(run: Running, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in run.stderr:
        assert time.monotonic() < deadline, run.stderr
        time.sleep(0.05)


def test_a_change_restarts_the_service_and_keeps_the_topics(project: Path) -> None:
    with running("--reload", cwd=project) as run:
        assert version(run) == 1
        assert func("events", "send", "b", "--data", "1", cwd=project).returncode == 0
        first = run.ready

        (project / "app.py").write_text(APP.replace("'v': 1", "'v': 2"))
        run.ready = run.event("ready")

        assert version(run) == 2
        assert (run.ready["url"], run.ready["kafka"]) == (first["url"], first["kafka"])
        assert run.ready["pid"] != first["pid"]
        kept = func("events", "tail", "b", "--from-beginning", "-n", "1", "--timeout", "10", cwd=project)
        assert kept.returncode == 0, kept.stderr
        assert run.stop(signal.SIGINT) == 0

    assert not alive(run.ready["pid"])


def test_a_broken_edit_is_told_and_the_next_change_mends_it(project: Path) -> None:
    with running("--reload", cwd=project) as run:
        (project / "app.py").write_text("def broken(:\n")
        wait_for_stderr(run, "waiting for the next change")
        assert "Error: app.py:1: SyntaxError" in run.stderr

        (project / "app.py").write_text(APP.replace("'v': 1", "'v': 3"))
        run.ready = run.event("ready")

        assert version(run) == 3


def test_the_end_of_a_child_that_is_not_ready_yet(project: Path) -> None:
    (project / "app.py").write_text("import pathlib, time\npathlib.Path('.begun').touch()\ntime.sleep(60)\n")

    with started("run", "--reload", "--port", "0", cwd=project, ready="") as run:
        deadline = time.monotonic() + 30
        while not (project / ".begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)

        assert run.stop(signal.SIGINT) == Exit.INTERRUPTED


def test_without_the_extra(project: Path) -> None:
    code = "import sys; sys.modules['watchfiles'] = None; from upon_build.cli import main; main(['run', '--reload'])"

    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, timeout=60)

    assert done.returncode == Exit.NOT_INSTALLED
    assert "--reload needs the extra [dev]: pip install 'upon[dev]'" in done.stderr


def test_the_child_ends_when_the_parent_is_killed(project: Path) -> None:
    with running("--reload", cwd=project) as run:
        child = int(run.ready["pid"])
        run.process.kill()

        deadline = time.monotonic() + 20
        while alive(child):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
