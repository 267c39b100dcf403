"""A module that starts a thread must not keep `func` from ending."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from support.func import func, running
from upon_build.cli.exits import Exit

APP = """
import threading
import time

import upon

threading.Thread(target=time.sleep, args=(600,), name="endless").start()


@upon.http("GET /a")
def a() -> None: ...
"""
SAID = "ended without waiting for threads that still run: endless"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "func.yaml").write_text("name: demo\nfunctions: [app.py]\n")
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def test_check(project: Path) -> None:
    done = func("check", "-o", "json", cwd=project)

    assert done.returncode == Exit.OK
    assert done.stdout.startswith('{"name": "demo"')
    assert SAID in done.stderr


def test_the_exit_code_of_a_fault_stays(project: Path) -> None:
    (project / "app.py").write_text(APP.replace("@upon.http", "# @upon.http"))

    done = func("check", cwd=project)

    assert done.returncode == Exit.USAGE
    assert SAID in done.stderr


def test_run(project: Path) -> None:
    with running(cwd=project) as run:
        assert run.stop(signal.SIGINT) == Exit.OK
    assert SAID in run.stderr


def test_a_pool_of_threads_ends_by_itself(project: Path) -> None:
    pool = "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\npool.submit(print)\n"
    (project / "app.py").write_text(pool + APP.replace("threading.Thread", "# threading.Thread"))

    done = func("check", cwd=project)

    assert done.returncode == Exit.OK
    assert done.stderr == ""
