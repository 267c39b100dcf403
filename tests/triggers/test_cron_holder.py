from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest

from upon_triggers.holder import Holder, is_gone, parse, this_process

CODE = "from upon_triggers.holder import this_process; print(this_process(), flush=True); input()"


def start() -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_a_holder_is_written_and_read() -> None:
    me = this_process()
    assert me == parse(str(me))
    assert f"process {os.getpid()} on {me.host}" == me.known
    assert str(this_process()) != str(me)  # two sources of one process


def test_another_kind_of_identity_is_not_ours_to_judge() -> None:
    assert parse("web-7f9c_b3e1") is None
    assert not is_gone("web-7f9c_b3e1", this_process())


def test_a_process_is_gone_once_it_ended() -> None:
    me = this_process()
    process, text = start()
    assert not is_gone(text, me)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(text, me)  # a zombie as yet
    process.communicate(timeout=10)
    assert is_gone(text, me)


def test_a_number_that_came_again_is_another_process() -> None:
    me = this_process()
    assert not is_gone(str(me), me)
    assert is_gone(str(dataclasses.replace(me, start="1")), me)


def test_what_another_kernel_or_container_runs_is_not_known_to_be_gone() -> None:
    me = this_process()
    gone = dataclasses.replace(me, pid=2**22 + 1)
    assert is_gone(str(gone), me)
    assert not is_gone(str(dataclasses.replace(gone, boot="another")), me)
    assert not is_gone(str(dataclasses.replace(gone, pids="pid:[1]")), me)
    nowhere = Holder("host", "", "", 1, "", "t")
    assert not is_gone(str(nowhere), nowhere)


def test_a_process_that_cannot_be_seen_counts_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another user, where /proc hides those."""
    me = this_process()
    monkeypatch.setattr("upon_triggers.holder._read", lambda path: "")
    assert not is_gone(str(me), me)
    assert is_gone(str(dataclasses.replace(me, pid=2**22 + 1)), me)
