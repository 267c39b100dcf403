"""The file by which `func invoke` and `func events` find a `func run`."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from upon_build.cli.running import announced, find_running, is_alive, start_of, state_path


def test_it_is_there_while_the_block_runs_and_gone_afterwards(tmp_path: Path) -> None:
    with announced(tmp_path, "http://127.0.0.1:1", "127.0.0.1:2", True):
        found = find_running(tmp_path)
        assert found is not None
        assert (found.pid, found.url, found.kafka, found.embedded) == (
            os.getpid(), "http://127.0.0.1:1", "127.0.0.1:2", True,
        )  # fmt: skip

    assert find_running(tmp_path) is None
    assert not state_path(tmp_path).exists()


def test_a_process_that_died_is_not_found(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(30)
    _write(tmp_path, pid=process.pid)

    assert find_running(tmp_path) is None


def test_another_process_with_the_same_pid_is_not_found(tmp_path: Path) -> None:
    with announced(tmp_path, "http://x", None, False):
        found = find_running(tmp_path)
        assert found is not None
        assert is_alive(found)
        assert not is_alive(dataclasses.replace(found, started="1"))


def test_a_broken_file_is_nobody(tmp_path: Path) -> None:
    _write(tmp_path, pid="x")
    state_path(tmp_path).write_text("{")

    assert find_running(tmp_path) is None


def test_the_end_leaves_the_file_of_a_later_run_alone(tmp_path: Path) -> None:
    with announced(tmp_path, "http://first", None, False):
        _write(tmp_path, pid=os.getppid())

    assert json.loads(state_path(tmp_path).read_text())["pid"] == os.getppid()


def test_the_end_of_a_later_run_leaves_the_earlier_one_to_be_found(tmp_path: Path) -> None:
    _write(tmp_path, pid=os.getppid())

    with announced(tmp_path, "http://second", None, False):
        second = find_running(tmp_path)
    first = find_running(tmp_path)

    assert second is not None
    assert first is not None
    assert (os.getpid(), os.getppid()) == (second.pid, first.pid)


def test_a_folder_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / ".upon").write_text("a file where the folder should be")

    with announced(tmp_path, "http://x", None, False):
        assert find_running(tmp_path) is None


def _write(folder: Path, *, pid: object) -> None:
    state_path(folder).parent.mkdir(exist_ok=True)
    started = start_of(pid) if isinstance(pid, int) else ""
    state_path(folder).write_text(
        json.dumps({"pid": pid, "started": started, "url": "http://x", "kafka": None, "embedded": False})
    )
