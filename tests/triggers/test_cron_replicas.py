"""Several real processes with one schedule: one fires, whatever happens to the others."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.replicas import Replicas


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Replicas]:
    found = Replicas(tmp_path)
    yield found
    found.close()


def minutes(replicas: Replicas) -> list[int]:
    return sorted({int(line["tick"]) // 60 for line in replicas.lines("begin")})


def test_one_fires_and_when_it_is_killed_another_goes_on(replicas: Replicas) -> None:
    first = replicas.start()
    replicas.firing(first.pid)
    others = [replicas.start(), replicas.start()]
    replicas.until(lambda: len(replicas.lines("started")) == 3, "three started")
    replicas.firing(first.pid, 2)
    assert {first.pid} == {line["pid"] for line in replicas.lines("begin")}
    replicas.send(first, signal.SIGKILL)
    replicas.until(lambda: any(line["pid"] != first.pid for line in replicas.lines("end")), "another fires")
    (second,) = {line["pid"] for line in replicas.lines("begin")} - {first.pid}
    assert second in {other.pid for other in others}
    replicas.firing(second, 2)
    fired = minutes(replicas)
    assert list(range(fired[0], fired[-1] + 1)) == fired
    assert [] == replicas.unexplained()


def test_one_that_was_frozen_past_its_lease_fires_nothing_that_another_has_fired(replicas: Replicas) -> None:
    first = replicas.start()
    replicas.firing(first.pid)
    second = replicas.start()
    replicas.until(lambda: len(replicas.lines("started")) == 2, "two started")
    replicas.send(first, signal.SIGSTOP)
    replicas.firing(second.pid, 3)
    thawed = time.time()
    replicas.send(first, signal.SIGCONT)
    replicas.firing(second.pid, 3)
    late = [line for line in replicas.lines("begin") if line["pid"] == first.pid and line["at"] > thawed]
    assert {line["id"] for line in late} <= {id for id in replicas.doubled() if id in cut_short(replicas, first.pid)}
    assert [] == replicas.unexplained()
    fired = minutes(replicas)
    assert list(range(fired[0], fired[-1] + 1)) == fired


def cut_short(replicas: Replicas, pid: int) -> set[str]:
    """Ticks that were claimed by this process before it was frozen."""
    (at,) = [at for frozen, at in replicas.interruptions if frozen == pid]
    return {line["id"] for line in replicas.lines("begin") if line["pid"] == pid and line["at"] <= at + 0.1}


def test_a_process_that_ends_hands_over_at_once(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path, lease=600.0)  # too long to be waited for
    try:
        first = replicas.start()
        replicas.firing(first.pid)
        replicas.send(first, signal.SIGTERM)
        assert 0 == first.wait(10)
        second = replicas.start()
        replicas.firing(second.pid, 2)
        fired = minutes(replicas)
        assert list(range(fired[0], fired[-1] + 1)) == fired
        assert {} == replicas.doubled()
    finally:
        replicas.close()


def test_one_that_comes_after_a_kill_does_not_wait_for_the_lease(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path, lease=600.0)
    try:
        first = replicas.start()
        replicas.firing(first.pid)
        replicas.send(first, signal.SIGKILL)
        second = replicas.start()
        replicas.firing(second.pid, 2)
        assert [] == replicas.unexplained()
    finally:
        replicas.close()


SCHEDULES = ("* * * * *", "*/2 * * * *", "1-59/3 * * * *", "*/4 * * * *", "0-58/2 * * * *")


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1, 2])
def test_each_tick_fires_at_least_once_and_never_twice_but_after_a_crash_in_the_middle(
    seed: int, tmp_path: Path
) -> None:
    replicas = Replicas(tmp_path, schedules=SCHEDULES, work=0.2)
    try:
        report = play(replicas, random.Random(seed), seconds=20.0)
    finally:
        replicas.close()
    assert [] == report["lost"]
    assert [] == replicas.unexplained()
    assert report["ticks"] > 40


def play(replicas: Replicas, rng: random.Random, *, seconds: float) -> dict[str, Any]:
    """Kill, freeze, stop and start at random; figures of what became of the ticks."""
    alive = [replicas.start() for _ in range(3)]
    replicas.until(lambda: bool(replicas.lines("end")), "a first tick")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        victim = rng.choice(alive)
        what = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
        replicas.send(victim, what)
        if what == signal.SIGSTOP:
            time.sleep(rng.uniform(0.5, 3.0))  # shorter and longer than the lease
            replicas.send(victim, signal.SIGCONT)
        else:
            victim.wait(20)
            alive[alive.index(victim)] = replicas.start()
        time.sleep(rng.uniform(0.2, 1.5))
    begun = len(replicas.lines("end"))
    replicas.until(lambda: len(replicas.lines("end")) > begun + 5, "ticks after the last kill")
    for process in alive:
        replicas.send(process, signal.SIGTERM)
        process.wait(20)
    return figures(replicas)


def figures(replicas: Replicas) -> dict[str, Any]:
    """lost: ticks between the first and the last of a schedule that never finished."""
    done = replicas.lines("end")
    by_step: dict[str, set[int]] = defaultdict(set)
    for line in done:
        by_step[line["function"]].add(int(line["tick"]) // 60)
    lost = []
    for function, found in by_step.items():
        step, offset = {"f0": (1, 0), "f1": (2, 0), "f2": (3, 1), "f3": (4, 0), "f4": (2, 0)}[function]
        wanted = {m for m in range(min(found), max(found) + 1) if m % 60 % step == offset % step}
        lost += [(function, minute) for minute in sorted(wanted - found)]
    late = sorted(line["late"] for line in replicas.lines("begin"))
    times = Counter(len(lines) for lines in replicas.doubled().values())
    return {
        "ticks": len({line["id"] for line in done}),
        "lost": lost,
        "doubled": dict(times),
        "interruptions": len(replicas.interruptions),
        "late_median": late[len(late) // 2] / replicas.speed,
        "late_most": late[-1] / replicas.speed,
    }
