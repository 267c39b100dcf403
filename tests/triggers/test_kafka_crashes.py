"""A record that kills its process is found by three deaths; nothing is lost, and nobody else is blamed."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.crashes import Place, World
from upon import Busy, Failed
from upon._triggers import Batched
from upon_triggers.kafka.notes import Notes
from upon_triggers.settings import Delivery

ORDERINGS = ["partition", "key", "unordered"]


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("batched", [None, Batched(100)])
@pytest.mark.parametrize("killer", [0, 37, 499])
def test_the_third_death_is_the_last(ordering: str, batched: Batched | None, killer: int) -> None:
    world = World(killers=[(0, killer)], ordering=ordering, batched=batched)
    world.fill(500, keys=20)
    world.go_on()
    assert (3, [("crashed", (0, killer))]) == (world.deaths, world.dead())
    assert world.everything() - {(0, killer)} == set(world.handled)
    assert [] == world.repeated
    [letter] = world.broker.records("in.f.dead")
    told = dict(letter.headers)
    assert (b"3", b"the process died 3 times while it had this record") == (told["upon-attempts"], told["upon-error"])


def test_the_first_death_leaves_chunks() -> None:
    world = World(ordering="partition")
    world.fill(100)
    world.go_on(turns=10)
    world.die()
    pins = _pins_until_done(world)
    assert [32, 32, 32, 4] == [len(pinned) for pinned in pins]
    assert list(range(100)) == [offset for pinned in pins for offset in pinned]
    assert Notes() == _without_owner(world.note())


def _pins_until_done(world: World) -> list[tuple[int, ...]]:
    """The pins that the group saw, each once; nothing ran that was not pinned before."""
    seen: list[tuple[int, ...]] = []
    while not world.is_done():
        before = len(world.running)
        world.turn()
        level = world.note().level
        if level:
            seen.append(world.note().pinned)
            assert {offset for _, offset in world.running[before:]} <= {o for pins in seen for o in pins}
        world.now += 0.01
    return [max(group, key=len) for _, group in groupby(seen, key=lambda pins: pins[-1:]) if _]


def _without_owner(notes: Notes) -> Notes:
    return Notes(notes.finished, 0, 0, notes.level, notes.rest, notes.suspects, notes.pinned, notes.attempts)


def test_a_death_with_nothing_pinned_leaves_the_level() -> None:
    world = World(ordering="partition")
    world.fill(100)
    world.go_on(turns=10)
    for _ in range(5):
        world.die()
        while not world.source.state()["suspicious"] or world.note().level == 0:
            world.turn()
        assert {"0": 1} == world.source.state()["suspicious"]
        assert () == world.note().pinned or world.note().level == 1


def test_what_is_finished_is_not_suspected() -> None:
    slow = Failed("overloaded", "full")
    world = World(ordering="unordered", fails=lambda event: slow if event.data["n"] in (0, 50) else None)
    world.fill(60)
    world.go_on(turns=3000)
    assert frozenset(range(1, 60)) - {50} == world.note().finished
    world.die()
    world.go_on(turns=200)
    assert {(0, 0), (0, 50)} == set(world.running)
    assert [] == world.repeated


def test_a_clean_stop_leaves_no_suspicion() -> None:
    world = World()
    world.fill(100)
    world.go_on(turns=30)
    world.stop()
    assert 0 == world.note().open
    world.go_on(turns=20)
    assert {} == world.source.state()["suspicious"]


def test_a_clean_stop_amid_suspicion_hands_it_on() -> None:
    world = World(killers=[(0, 70)])
    world.fill(100)
    world.go_on(turns=10)
    world.die()
    while world.note().level == 0 or (0, 31) not in world.handled:
        world.turn()
    world.stop()
    left = world.note()
    assert (0, 1, ()) == (left.open, left.level, left.pinned)
    assert 68 <= left.rest <= 100
    world.go_on()
    assert [("crashed", (0, 70))] == world.dead()


def test_a_consumer_that_is_replaced_is_no_death() -> None:
    world = World()
    world.fill(100)
    for _ in range(4):
        world.go_on(turns=10)
        world.source._give_up_consumer("a test")
        world.source._join()
    world.go_on(turns=10)
    assert {} == world.source.state()["suspicious"]
    world.go_on()
    assert [] == world.dead()


def test_a_suspect_is_tried_as_often_as_any_other() -> None:
    world = World(
        ordering="key",
        delivery=Delivery(retry=2),
        fails=lambda event: Failed("error", "bad") if event.data["n"] == 5 else None,
    )
    world.fill(100, keys=10)
    world.die()
    world.go_on()
    assert [("error", (0, 5))] == world.dead()
    assert 3 == world.begun[0, 5]


def test_who_kills_at_a_later_try_is_found_as_well() -> None:
    world = World(ordering="partition")

    def fails(event: object) -> Failed | None:
        if (0, 5) != world.running[-1]:
            return None
        if world.running.count((0, 5)) == 2:
            raise SystemExit  # stands for the end of the process
        return Failed("error", "the first time it only fails")

    world = World(ordering="partition", fails=fails)
    world.fill(40)
    while not (world.dead() and world.is_done()):
        try:
            world.go_on(turns=50)
        except SystemExit:
            world.die()
        assert world.deaths < 10
    assert [("crashed", (0, 5))] == world.dead()


def test_without_a_dead_letter_the_record_is_dropped() -> None:
    world = World(killers=[(0, 3)], delivery=Delivery(dead_letter="none"))
    world.fill(10)
    world.go_on()
    assert (3, []) == (world.deaths, world.dead())
    assert 9 == len(world.handled)


def test_the_dead_letter_stands_before_the_commit() -> None:
    world = World(killers=[(0, 3)])
    world.fill(10)
    world.errors.extend([Busy("away")] * 5)
    while world.deaths < 3:
        world.turn()
    for _ in range(30):  # no time passes: the letter is not written again yet
        world.turn()
    at, note = world.noted()[0]
    assert (3, (3,), False) == (at, note.pinned, (0, 4) in world.handled)
    world.die()
    world.go_on()
    assert [("crashed", (0, 3))] == world.dead()
    assert 9 == len(world.handled)


def test_partitions_are_searched_side_by_side_and_one_killer_blames_no_other() -> None:
    world = World(partitions=4, killers=[(2, 40)])
    for partition in range(4):
        world.fill(100, partition)
    world.go_on()
    assert (3, [("crashed", (2, 40))]) == (world.deaths, world.dead())
    assert 399 == len(world.handled)


def test_single_suspects_run_alone_in_the_process() -> None:
    world = World(partitions=4)
    for partition in range(4):
        world.fill(40, partition)
    world.go_on(turns=10)
    world.die()
    while len({p for p, (_, n) in world.noted().items() if n.pinned}) < 4:
        world.turn()
    world.die()
    levels: Counter[int] = Counter()
    while not world.is_done():
        world.turn()
        pinned = [n.pinned for _, n in world.noted().values() if n.level == 2 and n.pinned]
        levels[len(pinned)] += 1
        assert len(pinned) <= 1
        assert all(len(pins) == 1 for pins in pinned)
        world.now += 0.01
    assert levels[1] > 100
    assert 160 == len(world.handled)


def test_three_killers_of_a_partition() -> None:
    killers: list[Place] = [(0, 3), (0, 4), (0, 90)]
    world = World(killers=killers, ordering="key")
    world.fill(100, keys=5)
    world.go_on()
    assert {("crashed", place) for place in killers} == set(world.dead())
    assert world.deaths <= 9
    assert world.everything() - set(killers) == set(world.handled)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    ordering=st.sampled_from(ORDERINGS),
    batched=st.sampled_from([None, Batched(8), Batched(64)]),
    killers=st.sets(st.integers(0, 149), max_size=2),
    kills=st.lists(st.integers(1, 300), max_size=6),
    most=st.sampled_from([1, 7, 40, 1000]),
)
def test_whatever_happens_nothing_is_lost_and_nobody_blamed_in_haste(
    seed: int, ordering: str, batched: Batched | None, killers: set[int], kills: list[int], most: int
) -> None:
    places = {(0, offset) for offset in killers}
    world = World(killers=places, ordering=ordering, batched=batched, seed=seed, delivery=Delivery(max_in_flight=most))
    world.fill(150, keys=9)
    for turns in kills:
        world.go_on(turns)
        if world.rng.random() < 0.2:
            world.stop()
        else:
            world.die()
    world.go_on()
    dead = {place for _, place in world.dead()}
    assert places <= dead
    assert world.everything() == set(world.handled) | dead
    assert [] == world.repeated
    assert all(world.blamed[place] >= 3 for place in dead)
    if not kills and len(killers) == 1:
        assert (places, 3) == (dead, world.deaths)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    ordering=st.sampled_from(ORDERINGS),
    killer=st.tuples(st.integers(0, 2), st.integers(0, 79)),
    kills=st.lists(st.integers(1, 200), max_size=1),
)
def test_over_several_partitions_only_the_killer_dies(
    seed: int, ordering: str, killer: Place, kills: list[int]
) -> None:
    world = World(partitions=3, killers=[killer], ordering=ordering, seed=seed)
    for partition in range(3):
        world.fill(80, partition, keys=9)
    for turns in kills:
        world.go_on(turns)
        world.die()
    world.go_on()
    dead = {place for _, place in world.dead()}
    assert killer in dead
    assert world.everything() == set(world.handled) | dead
    assert [] == world.repeated
    assert all(world.blamed[place] >= 3 for place in dead)
    if not kills:
        assert ({killer}, 3) == (dead, world.deaths)
