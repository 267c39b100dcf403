"""Thousands of calls at once, some bad, some late, some cancelled: none lost, doubled or swapped."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter

import pytest

from support.batching import Caller, request
from upon import DeadlineExceeded, Overloaded
from upon_runtime.inference.batcher import Batcher
from upon_runtime.inference.request import Request


class Chaos:
    """An infer that is slow now and then, fails for odd-marked values, and counts how often each value ran."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.finished: Counter[int] = Counter()
        self.sizes: Counter[int] = Counter()
        self.lock = threading.Lock()

    def __call__(self, batch: list[Request]) -> None:
        with self.lock:
            nap = self.random.choice((0, 0, 0, 1e-4, 1e-3))
        time.sleep(nap)
        if any(each.arrays[0] % 41 == 0 for each in batch):
            raise ValueError("bad")
        assert 1 == len({each.key for each in batch})
        with self.lock:
            self.finished.update(each.arrays[0] for each in batch)
            self.sizes[sum(each.rows for each in batch)] += 1
        answers = [each.arrays[0] * 2 for each in batch]
        for offset, each in enumerate(batch):
            each.offset, each.outputs = offset, answers


def one(value: int, chance: random.Random) -> Request:
    deadline = time.monotonic() + chance.choice((1e-4, 1e-3)) if chance.random() < 0.1 else None
    return request(value, rows=chance.choice((1, 1, 1, 3)), key=chance.choice("aab"), deadline=deadline)


def verdict(sent: Request, error: BaseException | None) -> str:
    if error is None:
        assert sent.outputs is not None
        assert sent.arrays[0] * 2 == sent.outputs[sent.offset], "swapped"
        return "answered"
    if isinstance(error, ValueError):
        assert sent.arrays[0] % 41 == 0, "a good one failed"
        return "bad"
    assert isinstance(error, (DeadlineExceeded, Overloaded, asyncio.CancelledError)), repr(error)
    return type(error).__name__


def block(batcher: Batcher, values: range, seed: int) -> list[tuple[int, str]]:
    chance = random.Random(seed)
    told = []
    for value in values:
        sent = one(value, chance)
        try:
            batcher.submit(sent)
        except Exception as error:
            told.append((value, verdict(sent, error)))
        else:
            told.append((value, verdict(sent, None)))
    return told


async def swarm(batcher: Batcher, values: range, seed: int) -> list[tuple[int, str]]:
    chance = random.Random(seed)

    async def go(value: int) -> tuple[int, str]:
        sent = one(value, chance)
        task = asyncio.ensure_future(batcher.asubmit(sent))
        if chance.random() < 0.1:
            asyncio.get_running_loop().call_later(chance.random() * 2e-3, task.cancel)
        (result,) = await asyncio.gather(task, return_exceptions=True)
        return value, verdict(sent, result)

    told: list[tuple[int, str]] = []
    for start in range(values.start, values.stop, 50):
        told += await asyncio.gather(*map(go, range(start, min(start + 50, values.stop))))
    return told


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_call_gets_its_own_answer_once(seed: int, slots: int) -> None:
    chaos = Chaos(seed)
    batcher = Batcher("m", chaos, max_rows=8, queue_rows=80, slots=slots, max_wait=0.0 if seed == 1 else 1e-4)
    threads, each = 12, 200
    callers = [
        Caller(lambda i=i: block(batcher, range(1 + i * each, 1 + (i + 1) * each), seed * 100 + i))
        for i in range(threads)
    ]
    loop = Caller(lambda: asyncio.run(swarm(batcher, range(10_000, 10_600), seed)))
    told = [entry for caller in [*callers, loop] for entry in caller.finish()]
    assert batcher.close(10.0)

    values = [value for value, _ in told]
    assert len(values) == len(set(values)) == threads * each + 600
    verdicts = dict(told)
    answered = {value for value, what in told if what == "answered"}
    assert answered <= set(chaos.finished)
    assert {1} == set(chaos.finished.values()), "a value ran to its end twice"
    assert not [v for v in verdicts if v % 41 == 0 and verdicts[v] == "answered"]
    assert len(answered) > len(told) / 10
    assert max(chaos.sizes) <= 8
    assert max(chaos.sizes) > 3, "nothing was ever batched"
    assert (batcher.depth, batcher._free, bool(batcher._lanes)) == (0, slots, False)
