"""Signals: the first ends in order, the second at once, and one press that arrives twice is one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from upon_runtime.process import ONE_PRESS, Signals

CHILD = """
import signal, sys, time
from upon_runtime.process import Signals

with Signals() as signals:
    print("ready", flush=True)
    signals.stop.wait(30)
    print("stopping", flush=True)
    time.sleep(30)
"""


def test_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.stop.wait(5)
    assert before == signal.getsignal(signal.SIGTERM)


def test_a_signal_that_another_thread_gets_is_noticed() -> None:
    with Signals() as signals:
        other = threading.Timer(0.1, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM))
        other.start()
        began = time.monotonic()
        assert signals.stop.wait(10)
        assert time.monotonic() - began < 5
        other.join()


def test_one_press_that_arrives_twice_is_one() -> None:
    now = [10.0]
    signals = Signals(clock=lambda: now[0])
    signals._received(signal.SIGINT, None)
    now[0] += ONE_PRESS / 2
    signals._received(signal.SIGINT, None)  # would have ended this process
    assert signals.stop.is_set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_at_once_and_says_so(number: signal.Signals) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert "ready\n" == child.stdout.readline()
    child.send_signal(number)
    assert "stopping\n" == child.stdout.readline()
    time.sleep(ONE_PRESS + 0.1)
    began = time.monotonic()
    child.send_signal(number)
    _, error = child.communicate(timeout=10)
    assert time.monotonic() - began < 5
    assert 1 == child.returncode
    assert "a second signal: ended at once; what was not finished is delivered again\n" == error
