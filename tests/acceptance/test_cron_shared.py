"""Two `func run` of one project on one machine: one fires its schedules, and says so."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from support.func import Running, func, running

APP = """
import upon

@upon.cron("* * * * *")
def tick(event: upon.Event) -> None: ...
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "func.yaml").write_text("name: demo\nfunctions: [app.py]\nrun: {drainDelay: 0}\n")
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def source(run: Running) -> dict[str, Any]:
    with urllib.request.urlopen(run.url + "/health/readiness", timeout=10) as response:
        (state,) = json.load(response)["sources"].values()
    return dict(state)


def told_by(run: Running, text: str) -> str:
    """The next line on stderr that holds the text."""
    while text not in (line := run.error_lines.get(timeout=20)):
        pass
    return line


def test_the_second_run_says_that_the_first_one_fires_and_takes_over(project: Path) -> None:
    with running(cwd=project) as first:
        with running("--tick", cwd=project) as second:
            assert ["tick"] == second.event("ticked")["functions"]
            assert "tick" == second.event("handled")["function"]  # whoever fires the schedule
            assert [True, False] == [source(first)["leader"], source(second)["leader"]]
            told = told_by(second, "this process takes over when that one ends")
            assert f"cron * * * * * -> tick: process {first.process.pid} on " in told
            assert 0 == first.stop()
            told_by(second, "from now on this process fires the schedule")
            assert source(second)["leader"]
    assert (project / ".upon" / "cron.sqlite").is_file()


def test_a_folder_for_the_state_that_cannot_be_made(project: Path) -> None:
    (project / "func.yaml").write_text("name: demo\nfunctions: [app.py]\nrun: {stateDir: app.py/state}\n")
    (project / "app.py").write_text(APP.replace('* *")', '* *", catch_up=1)'))
    done = func("run", "--port", "0", "-o", "json", cwd=project)
    assert 0 != done.returncode
    assert "cron * * * * * has catch_up, but the folder" in done.stderr
    assert "name one in run.stateDir that this user can write to; or remove catch_up" in done.stderr
