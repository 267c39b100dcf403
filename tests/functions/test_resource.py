from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import upon
from upon import Resource, UponError, UsageError


def counted(log: list[str]) -> Resource[str]:
    @upon.resource
    def pool() -> Iterator[str]:
        """A pool."""
        log.append("open")
        yield "value"
        log.append("close")

    return pool


def test_it_opens_once_and_closes() -> None:
    log: list[str] = []
    pool = counted(log)
    assert ("pool", "A pool.", "<Resource pool: closed>") == (pool.name, pool.__doc__, repr(pool))
    assert [] == log
    pool._open()
    assert ("value", "value") == (pool(), pool())
    assert "<Resource pool: open>" == repr(pool)
    pool._close()
    pool._close()
    assert ["open", "close"] == log


def test_it_opens_again_after_it_was_closed() -> None:
    log: list[str] = []
    pool = counted(log)
    for _ in range(2):
        pool._open()
        pool._close()
    assert ["open", "close"] * 2 == log


def test_many_threads_open_it_once() -> None:
    log: list[str] = []
    pool = counted(log)
    barrier = threading.Barrier(8)

    def use() -> None:
        barrier.wait(10)
        pool()

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert ["open"] == log
    pool._close()


def test_a_returned_value_needs_no_closing() -> None:
    made = []

    @upon.resource
    def settings() -> dict[str, int]:
        made.append(1)
        return {"a": 1}

    assert {"a": 1} == settings()
    assert settings() is settings()
    settings._close()
    assert [1] == made


def test_none_is_a_value_too() -> None:
    made = []

    @upon.resource
    def nothing() -> None:
        made.append(1)

    nothing()
    nothing()
    assert [1] == made


def test_without_a_yield_there_is_no_value() -> None:
    @upon.resource
    def empty() -> Iterator[int]:
        yield from ()

    with pytest.raises(UponError, match="resource empty did not yield a value: `yield` it exactly once"):
        empty()


def test_a_second_yield_is_an_error_when_it_closes() -> None:
    @upon.resource
    def twice() -> Iterator[int]:
        yield 1
        yield 2

    twice._open()
    with pytest.raises(UponError, match="resource twice yielded twice"):
        twice._close()


def test_an_error_on_opening_is_raised_and_leaves_it_closed() -> None:
    tries = []

    @upon.resource
    def flaky() -> Iterator[int]:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("refused")
        yield 7

    with pytest.raises(ConnectionError):
        flaky._open()
    assert 7 == flaky()
    flaky._close()


def test_without_a_runtime_it_closes_with_the_process() -> None:
    code = "import upon\n@upon.resource\ndef r():\n    yield 1\n    print('closed')\nprint(r())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "1\nclosed\n" == out.stdout


def test_wrong_targets() -> None:
    async def coroutine() -> int:
        return 1

    async def generator() -> AsyncIterator[int]:
        yield 1

    def greedy(path: str) -> str:
        return path

    wrong: list[tuple[Any, str]] = [
        (coroutine, "coroutine must be a plain function or generator, not async"),
        (generator, "generator must be a plain function or generator, not async"),
        (greedy, "greedy must take no parameters"),
        (dict, "takes a function and no parentheses, not <class 'dict'>"),
        (None, "takes a function and no parentheses, not None"),
    ]
    for target, message in wrong:
        with pytest.raises(UsageError, match=message):
            upon.resource(target)
