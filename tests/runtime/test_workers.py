"""The pool: bounded, ordered at each gate, finished in time or given up."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from support.http import eventually
from upon import Draining, Overloaded
from upon_runtime.workers import Gate, Workers


def test_jobs_over_the_limit_are_refused() -> None:
    release, started = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        release.wait(5)

    workers = Workers(threads=1, limit=2)
    workers.run(hold, Gate(None))
    workers.run(hold, Gate(None))
    assert started.wait(5)
    with pytest.raises(Overloaded, match="2 events wait already"):
        workers.run(hold, Gate(None))
    release.set()
    assert workers.close(5)
    with pytest.raises(Draining):
        workers.run(hold, Gate(None))


def test_a_gate_keeps_its_limit_and_its_order() -> None:
    workers, gate = Workers(threads=8), Gate(1)
    order: list[int] = []
    lock = threading.Lock()

    def job(number: int) -> None:
        assert lock.acquire(blocking=False)
        order.append(number)
        time.sleep(0.001)
        lock.release()

    for number in range(50):
        workers.run(lambda number=number: job(number), gate)  # type: ignore[misc]
    assert workers.close(10)
    assert list(range(50)) == order
    assert 0 == gate.running


def test_a_job_that_raises_gives_its_place_back() -> None:
    workers, gate = Workers(threads=2), Gate(1)
    done = threading.Event()
    workers.run(lambda: 1 / 0, gate)  # type: ignore[arg-type,return-value]
    workers.run(done.set, gate)
    assert done.wait(5)
    assert workers.close(5)
    assert 0 == gate.running


def test_close_gives_up_after_its_timeout() -> None:
    release = threading.Event()
    workers = Workers(threads=1)
    workers.run(lambda: release.wait(10), Gate(None))  # type: ignore[arg-type,return-value]
    began = time.monotonic()
    assert not workers.close(0.1)
    assert time.monotonic() - began < 3
    release.set()


def test_a_job_that_raises_is_told(caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(threads=1)
    workers.run(lambda: 1 / 0, Gate(None))  # type: ignore[arg-type,return-value]
    assert workers.close(5)
    assert "ZeroDivisionError" in caplog.text


def test_no_more_threads_than_jobs_at_once() -> None:
    workers = Workers(threads=3)
    for _ in range(5):
        done = threading.Event()
        workers.run(done.set, Gate(None))
        assert done.wait(5)
        assert eventually(lambda: workers.jobs == 0)
    assert 1 == len(workers._pool)
    release = threading.Event()
    for _ in range(5):
        workers.run(lambda: release.wait(5), Gate(None))  # type: ignore[arg-type,return-value]
    assert 3 == len(workers._pool)
    release.set()
    assert workers.close(5)
    assert not any(thread.is_alive() for thread in workers._pool)


STUCK = """
import time
from upon_runtime.workers import Gate, Workers
workers = Workers()
workers.run(lambda: time.sleep(30), Gate(None))
print(workers.close(0.1))
"""


def test_a_job_without_an_end_does_not_keep_the_process_alive() -> None:
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=15)
    assert (0, "False\n", "") == (ended.returncode, ended.stdout, ended.stderr)


def test_a_place_is_waited_for_and_given_up() -> None:
    gate = Gate(1)
    assert gate.enter(0)
    assert not gate.enter(0)
    assert not gate.enter(0.02)
    gate.leave()  # nobody waits any more
    assert gate.enter(0.02)
    came: list[bool] = []
    waiting = threading.Thread(target=lambda: came.append(gate.enter(10)))
    waiting.start()
    deadline = time.monotonic() + 10
    while not gate._waiting:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    gate.leave()
    waiting.join(10)
    assert [True] == came
    assert 1 == gate.running
