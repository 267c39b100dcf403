"""A service in a process of its own: signals, drain, and what is left after a kill."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor

from support.http import Child, Reply, connect, descendants, eventually, is_free, post_event, request


def sleeping(pool: ThreadPoolExecutor, port: int, seconds: float) -> Future[Reply]:
    body = b'{"seconds": %g}' % seconds
    return pool.submit(request, port, "POST", "/sleep", body, {"content-type": "application/json"}, 30)


def asleep(port: int, count: int) -> bool:
    """Whether so many handlers sleep by now."""
    return eventually(lambda: request(port, "GET", "/asleep").json == count)


def is_refused(port: int) -> bool:
    try:
        with connect(port, 1):
            return False
    except OSError:
        return True


def test_a_taken_port_ends_the_second_process() -> None:
    with Child() as first, Child("--port", str(first.port)) as second:
        assert second.line.startswith(f"error can't listen on 127.0.0.1 port {first.port}: the port is in use")
        assert 1 == second.ended()[0]
        assert 204 == post_event(first.port).status


def test_drain_answers_everybody_and_exits_0() -> None:
    with Child("--delay", "1") as child, ThreadPoolExecutor(4) as pool:
        port = child.port
        running = [sleeping(pool, port, 2) for _ in range(3)]
        assert asleep(port, 3)
        child.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: request(port, "GET", "/health/readiness").status == 503, 1)
        assert 204 == post_event(port).status  # the window in which balancers notice
        assert [{"slept": 2}] * 3 == [future.result(20).json for future in running]
        status, _, err = child.ended()
        assert (0, "") == (status, err)
        assert is_free(port)


def test_requests_under_way_at_the_signal_all_get_an_answer() -> None:
    with Child("--delay", "0.5") as child, ThreadPoolExecutor(9) as pool:
        port = child.port
        answered: list[int] = []

        def until_closed() -> None:
            while True:
                try:
                    answered.append(post_event(port).status)
                except ConnectionRefusedError:  # the listener is closed; any other error is a lost request
                    return

        clients = [pool.submit(until_closed) for _ in range(8)]
        assert eventually(lambda: len(answered) > 100)
        child.process.send_signal(signal.SIGTERM)
        assert [None] * 8 == [client.result(20) for client in clients]
        assert 0 == child.ended()[0]
    assert {204} == set(answered)


def test_a_second_signal_ends_at_once() -> None:
    with Child() as child, ThreadPoolExecutor(1) as pool:
        running = sleeping(pool, child.port, 10)
        assert asleep(child.port, 1)
        child.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: is_refused(child.port))
        began = time.monotonic()
        child.process.send_signal(signal.SIGINT)
        assert 1 == child.ended(5)[0]
        assert time.monotonic() - began < 3
        assert running.exception(5) is not None


def test_the_deadline_of_the_drain_ends_with_status_1() -> None:
    with Child("--timeout", "0.3") as child, ThreadPoolExecutor(1) as pool:
        running = sleeping(pool, child.port, 3)
        assert asleep(child.port, 1)
        began = time.monotonic()
        child.process.send_signal(signal.SIGTERM)
        status, _, err = child.ended(15)
        assert 1 == status, err
        assert time.monotonic() - began < 3
        running.exception(5)


def test_nothing_is_left_after_kill_9() -> None:
    with Child() as child:
        port = child.port
        assert 204 == post_event(port).status
        assert [] == descendants(child.process.pid)
        child.process.kill()
        child.process.wait(10)
        assert eventually(lambda: is_free(port), 5)
        with Child("--port", str(port)) as again:
            assert port == again.port
            assert 204 == post_event(port).status


def test_what_a_handler_forks_does_not_keep_the_port() -> None:
    with Child() as child:
        port = child.port
        forked = request(port, "POST", "/fork").json
        try:
            child.process.send_signal(signal.SIGTERM)
            assert 0 == child.process.wait(20)
            assert eventually(lambda: is_free(port), 5)
        finally:
            os.kill(forked, signal.SIGKILL)
