"""The watchdog strikes once, in time, and never after the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from upon_runtime.watchdog import Watchdog


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    made = Watchdog()
    yield made
    made.close()
    assert made._thread is None or not made._thread.is_alive()


def test_a_call_that_ends_in_time_is_left_alone(watchdog: Watchdog) -> None:
    struck: list[int] = []
    key = watchdog.begin(time.monotonic() + 0.1, lambda: struck.append(1))
    assert watchdog.end(key)
    late = threading.Event()
    watchdog.begin(time.monotonic() + 0.2, late.set)
    assert late.wait(5)
    assert [] == struck


def test_a_late_call_is_struck_once_and_counted_until_it_ends(watchdog: Watchdog) -> None:
    struck = threading.Event()
    key = watchdog.begin(time.monotonic(), struck.set)
    assert struck.wait(5)
    assert 1 == watchdog.late
    assert not watchdog.end(key)
    assert 0 == watchdog.late


def test_it_wakes_again_after_a_pause(watchdog: Watchdog) -> None:
    for _ in range(3):
        struck = threading.Event()
        watchdog.begin(time.monotonic(), struck.set)
        assert struck.wait(5)
        deadline = time.monotonic() + 5
        while watchdog._wake.is_set() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not watchdog._wake.is_set()  # nothing is watched: nothing runs


def test_exactly_one_side_wins(watchdog: Watchdog) -> None:
    struck: list[int] = []
    ended: list[bool] = []

    def work() -> None:
        for _ in range(200):
            key = watchdog.begin(time.monotonic() + 0.001, lambda: struck.append(1))
            time.sleep(0.001)
            ended.append(watchdog.end(key))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    deadline = time.monotonic() + 5
    while len(struck) < ended.count(False) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended.count(False) == len(struck)
    assert 0 == watchdog.late


def test_a_callback_that_raises_does_not_end_the_watch(watchdog: Watchdog, caplog: pytest.LogCaptureFixture) -> None:
    struck = threading.Event()
    watchdog.begin(time.monotonic(), lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    watchdog.begin(time.monotonic() + 0.2, struck.set)
    assert struck.wait(5)
    assert "ZeroDivisionError" in caplog.text
