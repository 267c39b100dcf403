"""When something may begin, what a commit remembers, and where a partition waits rather than forget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.crashes import World
from upon import Busy, Failed
from upon_triggers.kafka import ownership
from upon_triggers.kafka.assignment import Assignment
from upon_triggers.kafka.memory import MemoryRecord
from upon_triggers.kafka.notes import LIMIT, SPAN, Notes, decode, encode
from upon_triggers.kafka.transport import OnCommitted, Partition, Position, TransportError
from upon_triggers.settings import Delivery

PARTITION = Partition("in", 0)


def _stuck(*numbers: int) -> Callable[[Any], Failed | None]:
    return lambda event: Failed("overloaded", "full") if event.data["n"] in numbers else None


class HeldCommits:
    """Stands before a consumer's `commit` and keeps the confirmations."""

    def __init__(self, world: World) -> None:
        consumer: Any = world.source._consumer
        self._commit = consumer.commit
        self.held: list[OnCommitted] = []
        consumer.commit = self._hold

    def _hold(self, positions: Any, on_done: OnCommitted) -> None:
        self._commit(positions, lambda _: None)
        self.held.append(on_done)

    def confirm(self, error: BaseException | None = None) -> None:
        held, self.held = self.held, []
        for on_done in held:
            on_done(error)


def _steps(world: World, count: int = 200) -> None:
    for _ in range(count):
        world.turn()


def test_nothing_is_begun_before_a_commit_says_that_we_have_the_partition() -> None:
    world = World()
    commits = HeldCommits(world)
    world.fill(5)
    _steps(world)
    assert (1, 0) == (len(commits.held), sum(world.begun.values()))
    assert (0, 3000) == (world.noted()[0][0], world.note().open)
    commits.confirm(Busy("away"))
    _steps(world)
    assert ([], 0) == (commits.held, sum(world.begun.values()))
    world.now += 1
    _steps(world)
    commits.confirm()
    _steps(world)
    assert 5 == sum(world.begun.values())


def test_ordinary_work_waits_for_no_commit() -> None:
    world = World()
    commits = HeldCommits(world)
    world.fill(500)
    _steps(world)
    commits.confirm()
    _steps(world, 3000)
    assert 500 == len(world.handled)


@pytest.mark.parametrize("ordering", ["partition", "unordered"])
def test_no_more_is_finished_than_a_kill_may_repeat(ordering: str) -> None:
    world = World(ordering=ordering, delivery=Delivery(max_in_flight=50))
    commits = HeldCommits(world)
    world.fill(4000)
    _steps(world)
    commits.confirm()
    _steps(world, 20_000)
    assert ownership.BEHIND <= len(world.handled) <= 50 + ownership.BEHIND
    while not world.is_done():
        commits.confirm()
        _steps(world, 10)
        world.now += 0.1
    assert 4000 == len(world.handled)


def test_it_is_asked_again_what_the_group_has_committed() -> None:
    world = World()
    world.fill(3)
    consumer: Any = world.source._consumer
    found, answers = consumer.find_committed, [Busy("away")] * 3

    def find_committed(partitions: Any, on_done: Any) -> None:
        on_done(answers.pop()) if answers else found(partitions, on_done)

    consumer.find_committed = find_committed
    _steps(world)
    assert (2, 0) == (len(answers), sum(world.begun.values()))
    world.go_on()
    assert 3 == len(world.handled)


def test_a_consumer_that_never_learns_what_is_committed_is_replaced() -> None:
    world = World()
    world.fill(3)
    consumer: Any = world.source._consumer
    consumer.find_committed = lambda partitions, on_done: on_done(Busy("away"))
    with pytest.raises(TransportError, match="what the group has committed can't be read: away"):
        world.go_on()
    assert 0 == sum(world.begun.values())
    world.source._give_up_consumer("a test")
    world.source._join()
    world.go_on()
    assert 3 == len(world.handled)


def test_a_bitmap_that_would_grow_too_large_pauses_the_partition() -> None:
    world = World(ordering="unordered", fails=_stuck(0))
    count = SPAN + 2000
    world.fill(count)
    sizes = set()
    while len(world.handled) < SPAN:
        world.go_on(turns=500)
        sizes.add(world.source.state()["notes_size"])
    world.go_on(turns=500)
    state = world.source.state()
    assert (SPAN, [0], count - SPAN) == (len(world.handled), state["paused"], state["lag"])
    assert max(sizes) <= LIMIT
    world._fails = lambda event: None
    world.go_on()
    assert count == len(world.handled)
    assert {1} == set(world.handled.values())


def test_what_is_finished_and_not_read_yet_is_no_lag() -> None:
    world = World(ordering="unordered", fails=_stuck(0))
    world.fill(300)
    world.go_on(turns=3000)
    world.stop()
    _steps(world, 500)
    assert 1 == world.source.state()["lag"]
    assert (299, [(0, 0)]) == (world.source.state()["skipped"], sorted(set(world.running)))


def test_metadata_of_somebody_else_says_nothing() -> None:
    world = World()
    world.fill(5)
    world.broker._groups["s.f"].positions[PARTITION] = Position(2, "written by another program")
    world.go_on()
    assert {(0, 2), (0, 3), (0, 4)} == set(world.handled)


def _record(offset: int) -> MemoryRecord:
    return MemoryRecord("in", 0, offset, None, b"{}", (), 0)


def test_gaps_in_the_log_do_not_matter() -> None:
    """Of what was finished, tried or suspected, 13, 15 and 16 were compacted away since."""
    notes = Notes(frozenset({12, 13, 17}), level=2, suspects=(11, 15), attempts=((14, 3), (16, 2)))
    assignment = Assignment(PARTITION, "unordered")
    assignment.begin(Position(10, encode(10, notes)), 1)
    assignment.backlog.extend(_record(offset) for offset in (11, 12, 14, 17, 20))
    assignment.take_backlog(100)
    assert ({14: 3}, 2, 0) == (assignment.attempts, assignment.skipped, assignment.unread_finished)
    assert assignment.guard is not None
    assert {11} == assignment.guard.suspects
    for offset in (11, 14):
        assignment.finish(offset)
    snapshot = assignment.snapshot(opened=5, owner=1)
    assert snapshot is not None
    assert 20 == snapshot.position.offset
    assert assignment.guard.is_exhausted


def test_a_commit_skips_what_was_finished_before_it_is_read() -> None:
    assignment = Assignment(PARTITION, "unordered")
    assignment.begin(Position(10, encode(10, Notes(frozenset({11, 12, 14})))), 1)
    assignment.backlog.append(_record(10))
    assignment.take_backlog(100)
    assignment.finish(10)
    snapshot = assignment.snapshot(opened=5, owner=1)
    assert snapshot is not None
    assert (13, frozenset({14})) == (snapshot.position.offset, decode(*snapshot.position).finished)


def test_a_topic_that_was_made_anew_is_read_from_its_beginning() -> None:
    world = World()
    world.fill(50)
    world.go_on()
    log = world.broker._topics["in"][0]
    log.clear()
    world.fill(10)
    consumer: Any = world.source._consumer
    consumer.seek(PARTITION, 0)
    world._finished = {}
    world.handled.clear()
    world.go_on()
    assert {(0, offset) for offset in range(10)} == set(world.handled)
    assert {0: 10} == world.broker.committed("s.f", "in")


def test_the_end_of_a_log_ends_the_suspicion() -> None:
    world = World()
    world.fill(10)
    world.go_on()
    world.die()
    world.go_on()
    assert {} == world.source.state()["suspicious"]
    world.fill(10)
    world.go_on(turns=20)
    assert () == world.note().pinned


def test_the_first_commit_pins_the_latest_offset() -> None:
    world = World(start="latest")
    world.fill(5)
    _steps(world)
    world.fill(3)
    _steps(world, 4)
    world.die()
    world.go_on()
    assert {5, 6, 7} == {offset for _, offset in world.handled}
