from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from support.batching import Caller, HeldRun, request, wait_until
from upon import DeadlineExceeded, Draining, ModelError, Overloaded
from upon_runtime.inference import waiters as waiters_module
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
    batcher.close(5.0)


def submit(batcher: Batcher, value: object, **options: object) -> object:
    sent = request(value, **options)
    batcher.submit(sent)
    assert sent.outputs is not None
    return sent.outputs[0]


def start(batcher: Batcher, *values: object, **options: object) -> list[Caller]:
    """One caller after another, each queued before the next begins."""
    callers = []
    for value in values:
        depth = batcher.depth
        callers.append(Caller(lambda value=value: submit(batcher, value, **options)))
        wait_until(lambda depth=depth: batcher.depth > depth)
    return callers


def occupy(batcher: Batcher, run: HeldRun) -> Caller:
    """Make the only slot busy with a run that blocks."""
    run.hold()
    caller = Caller(lambda: submit(batcher, "first"))
    wait_until(lambda: run.running == 1)
    return caller


def test_an_idle_batcher_runs_on_the_calling_thread(batcher: Batcher) -> None:
    threads: list[int] = []
    batcher._infer = lambda batch: (threads.append(threading.get_ident()), setattr(batch[0], "outputs", [1]))[0]
    submit(batcher, "a")
    assert [threading.get_ident()] == threads


def test_no_thread_is_started_for_blocking_callers(batcher: Batcher) -> None:
    before = threading.active_count()
    submit(batcher, "a")
    assert before == threading.active_count()


def test_what_waits_during_a_run_shares_the_next_one(batcher: Batcher, run: HeldRun) -> None:
    first = occupy(batcher, run)
    callers = start(batcher, *range(5))
    run.go()
    assert ("answer", "first") == first.finish()
    assert [("answer", i) for i in range(5)] == [caller.finish() for caller in callers]
    assert [["first"], [0, 1, 2, 3, 4]] == run.batches


def test_a_batch_never_exceeds_its_rows(batcher: Batcher, run: HeldRun) -> None:
    first = occupy(batcher, run)
    callers = start(batcher, *range(11))
    run.go()
    for caller in [first, *callers]:
        caller.finish()
    assert [["first"], list(range(8)), [8, 9, 10]] == run.batches


def test_rows_are_counted_not_requests(batcher: Batcher, run: HeldRun) -> None:
    first = occupy(batcher, run)
    callers = [*start(batcher, "five", rows=5), *start(batcher, "four", rows=4), *start(batcher, "one")]
    run.go()
    for caller in [first, *callers]:
        caller.finish()
    assert [["first"], ["five"], ["four", "one"]] == run.batches


def test_other_keys_run_apart_and_the_longest_wait_goes_first(batcher: Batcher, run: HeldRun) -> None:
    first = occupy(batcher, run)
    callers = [
        *start(batcher, "a1", key="a"),
        *start(batcher, "b1", key="b"),
        *start(batcher, "a2", key="a"),
        *start(batcher, "b2", key="b"),
    ]
    run.go()
    for caller in [first, *callers]:
        caller.finish()
    assert [["first"], ["a1", "a2"], ["b1", "b2"]] == run.batches


def test_the_baton_is_passed_before_followers_are_released(
    batcher: Batcher, run: HeldRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Followers are let go only once the next run has begun; the other order would never get there."""

    def release(waiters: Iterable[object]) -> None:
        waiting = list(waiters)
        if waiting:
            wait_until(lambda: ["late"] in run.batches)
        waiters_module.release(waiting)

    first = occupy(batcher, run)
    callers = [*start(batcher, "leader", "follower", key="a"), *start(batcher, "late", key="b")]
    monkeypatch.setattr("upon_runtime.inference.batcher.release", release)
    run.go()
    for caller in [first, *callers]:
        caller.finish()
    assert [["first"], ["leader", "follower"], ["late"]] == run.batches


def test_slots_bound_the_runs_at_once() -> None:
    run = HeldRun()
    run.hold()
    batcher = Batcher("m", run, max_rows=1, slots=2)
    callers = [Caller(lambda i=i: submit(batcher, i)) for i in range(6)]
    wait_until(lambda: run.running == 2 and batcher.depth == 4)
    run.go()
    assert {("answer", i) for i in range(6)} == {caller.finish() for caller in callers}
    assert 2 == run.most


@pytest.mark.parametrize("bad", [{0}, {3}, {7}, {2, 3}, set(range(8))])
def test_bad_requests_fail_alone(batcher: Batcher, run: HeldRun, bad: set[int]) -> None:
    first = occupy(batcher, run)
    callers = start(batcher, *range(8))
    run.bad = set(bad)
    run.go()
    first.finish()
    for value, caller in enumerate(callers):
        caller.join(20)
        if value in bad:
            assert f"bad [{value}]" == str(caller.error)
        else:
            assert ("answer", value) == caller.finish()


def test_bisecting_needs_few_runs(batcher: Batcher, run: HeldRun) -> None:
    first = occupy(batcher, run)
    callers = start(batcher, *range(8))
    run.bad = {5}
    run.go()
    first.finish()
    for caller in callers:
        caller.join(20)
    assert [["first"], list(range(8)), [0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [4], [5], [6, 7]] == run.batches


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(batcher: Batcher, run: HeldRun) -> None:
    first = occupy(batcher, run)
    callers = start(batcher, *range(16))
    with pytest.raises(Overloaded, match="16 rows wait and the queue holds 16") as caught:
        submit(batcher, "too much")
    assert 0 < caught.value.after <= 30
    run.go()
    for caller in [first, *callers]:
        caller.finish()
    assert ("answer", "again") == submit(batcher, "again")


def test_a_queue_always_holds_one_full_batch() -> None:
    assert 64 == Batcher("m", HeldRun(), max_rows=64, queue_rows=1)._limit


def test_a_deadline_that_has_passed_is_not_run(batcher: Batcher, run: HeldRun) -> None:
    with pytest.raises(DeadlineExceeded, match="model 'm'"):
        submit(batcher, "late", deadline=time.monotonic() - 1)
    assert [] == run.batches


def test_a_waiter_leaves_the_queue_at_its_deadline(batcher: Batcher, run: HeldRun) -> None:
    first = occupy(batcher, run)
    (late,) = start(batcher, "late", deadline=time.monotonic() + 0.1)
    (patient,) = start(batcher, "patient")
    late.join(20)
    assert isinstance(late.error, DeadlineExceeded)
    assert 1 == batcher.depth
    run.go()
    first.finish()
    patient.finish()
    assert [["first"], ["patient"]] == run.batches


def test_a_follower_whose_run_takes_too_long_gives_up_and_harms_nobody(batcher: Batcher, run: HeldRun) -> None:
    first = occupy(batcher, run)
    leader, other = start(batcher, "leader", "other")
    (late,) = start(batcher, "late", deadline=time.monotonic() + 0.5)
    held = threading.Event()
    original: Callable = batcher._infer
    batcher._infer = lambda batch: (held.wait(20), original(batch))[1]
    run.go()
    first.finish()
    wait_until(lambda: batcher.depth == 0)
    late.join(20)
    assert isinstance(late.error, DeadlineExceeded)
    held.set()
    assert [("answer", "leader"), ("answer", "other")] == [leader.finish(), other.finish()]


def test_an_expired_heir_passes_the_baton_on(run: HeldRun) -> None:
    now = [0.0]
    batcher = Batcher("m", run, max_rows=1, clock=lambda: now[0])
    first = occupy(batcher, run)
    (late,) = start(batcher, "late", deadline=50.0)
    (next_one,) = start(batcher, "next")
    now[0] = 100.0
    run.go()
    first.finish()
    late.join(20)
    assert isinstance(late.error, DeadlineExceeded)
    assert ("answer", "next") == next_one.finish()
    assert [["first"], ["next"]] == run.batches


def test_closing_refuses_new_calls_and_finishes_the_queued(batcher: Batcher, run: HeldRun) -> None:
    first = occupy(batcher, run)
    callers = start(batcher, 1, 2)
    closer = Caller(lambda: batcher.close(20.0))
    wait_until(lambda: batcher._draining)
    with pytest.raises(Draining, match="'m' is closing"):
        submit(batcher, "new")
    run.go()
    assert closer.finish() is True
    assert ["first", 1, 2] == [caller.finish()[1] for caller in [first, *callers]]


def test_closing_out_of_time_lets_go_of_the_queued(batcher: Batcher, run: HeldRun) -> None:
    first = occupy(batcher, run)
    (queued,) = start(batcher, "queued")
    assert batcher.close(0.05) is False
    with pytest.raises(Draining):
        queued.finish()
    run.go()
    assert ("answer", "first") == first.finish()
    assert batcher.close(5.0) is True


def test_an_interrupted_leader_lets_its_followers_go(batcher: Batcher, run: HeldRun) -> None:
    first = occupy(batcher, run)
    leader, follower = start(batcher, "leader", "follower")

    def interrupted(batch: list) -> None:
        raise KeyboardInterrupt

    batcher._infer = interrupted
    run.go()
    first.finish()
    with pytest.raises(KeyboardInterrupt):
        leader.finish()
    with pytest.raises(ModelError, match="interrupted"):
        follower.finish()
    batcher._infer = run
    assert ("answer", "after") == submit(batcher, "after")


@pytest.mark.parametrize("state", ["queued", "heir"])
def test_an_interrupted_waiter_takes_nothing_with_it(
    batcher: Batcher, run: HeldRun, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = occupy(batcher, run)
    interrupt = threading.Event()

    class Interrupted(waiters_module.ThreadWaiter):
        def wait(self, timeout: float) -> bool:
            assert interrupt.wait(20)
            if state == "heir":
                assert super().wait(timeout)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("upon_runtime.inference.batcher.ThreadWaiter", Interrupted)
        (victim,) = start(batcher, "victim")
    (other,) = start(batcher, "other")
    if state == "heir":
        run.go()
    interrupt.set()
    with pytest.raises(KeyboardInterrupt):
        victim.finish()
    run.go()
    first.finish()
    assert ("answer", "other") == other.finish()
    assert [["first"], ["other"]] == run.batches
    assert ("answer", "after") == submit(batcher, "after")


def test_max_wait_gathers_a_full_batch() -> None:
    run = HeldRun()
    batcher = Batcher("m", run, max_rows=3, max_wait=15.0)
    began = time.monotonic()
    callers = [Caller(lambda i=i: submit(batcher, i)) for i in range(3)]
    assert [("answer", i) for i in range(3)] == [caller.finish() for caller in callers]
    assert [3] == [len(batch) for batch in run.batches]
    assert time.monotonic() - began < 10


def test_max_wait_ends() -> None:
    run = HeldRun()
    batcher = Batcher("m", run, max_rows=3, max_wait=0.05)
    began = time.monotonic()
    assert ("answer", 1) == submit(batcher, 1)
    assert time.monotonic() - began >= 0.05


def test_a_gathering_lane_does_not_block_another_when_a_slot_is_free() -> None:
    run = HeldRun()
    batcher = Batcher("m", run, max_rows=2, max_wait=15.0, slots=2)
    waiting = Caller(lambda: submit(batcher, "a1", key="a"))
    wait_until(lambda: "a" in batcher._gathering)
    others = [Caller(lambda i=i: submit(batcher, i, key="b")) for i in ("b1", "b2")]
    for other in others:
        other.finish()
    mate = Caller(lambda: submit(batcher, "a2", key="a"))
    assert [("answer", "a1"), ("answer", "a2")] == [waiting.finish(), mate.finish()]


def test_closing_ends_the_gathering() -> None:
    run = HeldRun()
    batcher = Batcher("m", run, max_rows=2, max_wait=60.0)
    waiting = Caller(lambda: submit(batcher, "a"))
    wait_until(lambda: batcher._gathering)
    assert batcher.close(20.0) is True
    assert ("answer", "a") == waiting.finish()
