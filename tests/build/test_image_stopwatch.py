"""Stages are timed by their longest run, and a failure does not wait for what else is going on."""

from __future__ import annotations

import itertools
import threading
from contextlib import suppress

from upon_build.image.stopwatch import Stopwatch, Workers


def test_a_stage_counts_its_longest_run() -> None:
    moments = iter([0.0, 1.0, 1.0, 3.5, 4.0, 4.1])
    watch = Stopwatch(lambda: next(moments))
    for name in ("a", "b", "a"):
        with watch.stage(name):
            pass

    assert {"a": 1.0, "b": 2.5} == watch.seconds
    assert ["a", "b"] == list(watch.seconds)


def test_work_is_done_in_threads_and_timed() -> None:
    ticks = itertools.count()
    watch = Stopwatch(lambda: float(next(ticks)))
    with Workers(watch) as workers:
        done = [workers.start("name", threading.current_thread), workers.start("sum", sum, [1, 2], start=3)]

    assert done[0].result() is not threading.current_thread()
    assert 6 == done[1].result()
    assert {"name", "sum"} == set(watch.seconds)


def test_a_failure_does_not_wait_for_the_others() -> None:
    go_on = threading.Event()
    workers = Workers(Stopwatch(), at_once=1)
    running = workers.start("running", go_on.wait, 60)
    waiting = workers.start("waiting", go_on.wait, 60)
    with suppress(KeyboardInterrupt), workers:
        raise KeyboardInterrupt

    assert waiting.cancelled()
    assert not running.done()
    go_on.set()
    assert running.result(timeout=60)
