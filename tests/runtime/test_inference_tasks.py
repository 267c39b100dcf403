"""The batcher as coroutines see it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from support.batching import DEADLINE, Caller, HeldRun, request, wait_until
from upon import DeadlineExceeded, Draining, Overloaded
from upon_runtime.inference.batcher import Batcher


@pytest.fixture
def run() -> Iterator[HeldRun]:
    held = HeldRun()
    yield held
    held.go()


@pytest.fixture
def batcher(run: HeldRun) -> Iterator[Batcher]:
    batcher = Batcher("m", run, max_rows=8, queue_rows=16)
    yield batcher
    run.go()
    assert batcher.close(DEADLINE)


async def asubmit(batcher: Batcher, value: object, **options: object) -> object:
    sent = request(value, **options)
    await batcher.asubmit(sent)
    assert sent.outputs is not None
    return sent.outputs[0]


async def until(condition: object) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.001)


async def occupy(batcher: Batcher, run: HeldRun) -> asyncio.Task[object]:
    run.hold()
    task = asyncio.create_task(asubmit(batcher, "first"))
    await until(lambda: run.running == 1)
    return task


async def queue(batcher: Batcher, *values: object, **options: object) -> list[asyncio.Task[object]]:
    depth = batcher.depth
    tasks = [asyncio.create_task(asubmit(batcher, value, **options)) for value in values]
    await until(lambda: batcher.depth == depth + len(values))
    return tasks


def test_tasks_share_a_run_that_is_not_on_the_loops_thread(batcher: Batcher, run: HeldRun) -> None:
    threads: set[int] = set()

    def infer(batch: list) -> None:
        threads.add(threading.get_ident())
        run(batch)

    batcher._infer = infer

    async def main() -> list[object]:
        first = await occupy(batcher, run)
        tasks = await queue(batcher, *range(5))
        run.go()
        return await asyncio.gather(first, *tasks)

    assert ["first", 0, 1, 2, 3, 4] == [answer[1] for answer in asyncio.run(main())]
    assert [["first"], [0, 1, 2, 3, 4]] == run.batches
    assert threading.get_ident() not in threads
    assert 1 == len(threads)


def test_a_cancelled_task_leaves_the_queue(batcher: Batcher, run: HeldRun) -> None:
    async def main() -> None:
        first = await occupy(batcher, run)
        victim, other = await queue(batcher, "victim", "other")
        victim.cancel()
        await until(victim.done)
        assert 1 == batcher.depth
        run.go()
        await asyncio.gather(first, other)

    asyncio.run(main())
    assert [["first"], ["other"]] == run.batches


def test_a_task_cancelled_in_its_run_harms_nobody(batcher: Batcher, run: HeldRun) -> None:
    async def main() -> object:
        first = await occupy(batcher, run)
        victim, other = await queue(batcher, "victim", "other")
        first.cancel()
        run.go()
        await until(lambda: len(run.batches) == 2)
        victim.cancel()
        return await other

    assert ("answer", "other") == asyncio.run(main())


def test_a_cancelled_heir_passes_its_slot_on(batcher: Batcher, run: HeldRun) -> None:
    """The task is made leader, and cancelled before the thread that leads for it gets going."""

    async def main() -> object:
        first = await occupy(batcher, run)
        (heir,) = await queue(batcher, "heir", key="a")
        (other,) = await queue(batcher, "other", key="b")
        blocked = threading.Event()
        batcher._executor.submit(blocked.wait, DEADLINE)  # comes before the heir's leading
        run.go()
        await first
        heir.cancel()
        await until(heir.done)
        blocked.set()
        return await other

    assert ("answer", "other") == asyncio.run(main())
    assert [["first"], ["other"]] == run.batches


def test_a_task_gives_up_at_its_deadline(batcher: Batcher, run: HeldRun) -> None:
    async def main() -> None:
        first = await occupy(batcher, run)
        with pytest.raises(DeadlineExceeded):
            await asubmit(batcher, "late", deadline=time.monotonic() + 0.05)
        assert 0 == batcher.depth
        run.go()
        await first

    asyncio.run(main())
    assert [["first"]] == run.batches


def test_a_full_queue_and_a_closed_model_refuse_tasks_too(batcher: Batcher, run: HeldRun) -> None:
    async def main() -> None:
        first = await occupy(batcher, run)
        tasks = await queue(batcher, *range(16))
        with pytest.raises(Overloaded):
            await asubmit(batcher, "too much")
        run.go()
        await asyncio.gather(first, *tasks)
        assert batcher.close(DEADLINE)
        with pytest.raises(Draining):
            await asubmit(batcher, "new")

    asyncio.run(main())


def test_a_bad_task_fails_alone(batcher: Batcher, run: HeldRun) -> None:
    async def main() -> list[object]:
        first = await occupy(batcher, run)
        tasks = await queue(batcher, *range(8))
        run.bad = {6}
        run.go()
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(main())
    assert "bad [6]" == str(answers.pop(6))
    assert [("answer", i) for i in range(8) if i != 6] == answers


def test_threads_and_tasks_of_two_loops_share_a_run(batcher: Batcher, run: HeldRun) -> None:
    run.hold()
    first = Caller(lambda: batcher.submit(request("first")))
    wait_until(lambda: run.running == 1)
    loops = [Caller(lambda i=i: asyncio.run(asubmit(batcher, f"task {i}"))) for i in range(2)]
    thread = Caller(lambda: batcher.submit(request("thread")))
    wait_until(lambda: batcher.depth == 3)
    run.go()
    assert [("answer", "task 0"), ("answer", "task 1")] == [caller.finish() for caller in loops]
    thread.finish()
    first.finish()
    assert {"thread", "task 0", "task 1"} == set(run.batches[1])


def test_a_loop_that_is_gone_harms_nobody(batcher: Batcher, run: HeldRun) -> None:
    async def abandon() -> None:
        asyncio.create_task(asubmit(batcher, "abandoned"))  # noqa: RUF006
        await until(lambda: batcher.depth == 1)

    run.hold()
    first = Caller(lambda: batcher.submit(request("first")))
    wait_until(lambda: run.running == 1)
    asyncio.run(abandon())
    run.go()
    first.finish()
    batcher.submit(request("after"))
    assert [["first"], ["after"]] == run.batches
