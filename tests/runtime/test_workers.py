"""The pool: bounded, ordered at each gate, finished in time or given up."""

from __future__ import annotations

import threading
import time

import pytest

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
