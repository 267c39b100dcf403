"""Replaying dead letters: what is written, what is noted, and where a run ends."""

from __future__ import annotations

import pytest

from support.archives import DEAD, Yard
from upon import TooLarge
from upon_triggers.kafka import notes, replayed
from upon_triggers.kafka.dead_letters import replayed_of
from upon_triggers.kafka.letter import Filter
from upon_triggers.kafka.replay import WINDOW, Wish, preview
from upon_triggers.kafka.replay_ledger import GroupLedger
from upon_triggers.source import SourceError


@pytest.fixture
def yard() -> Yard:
    return Yard()


def test_a_letter_goes_back_as_it_was(yard: Yard) -> None:
    yard.bury(7, content_type=b"text/plain", ce_x=b"")
    yard.run()
    [record] = yard.broker.records("orders")
    assert (b"k7", b"7") == (record.key, record.value)
    assert (
        ("content-type", b"text/plain"),
        ("ce-x", b""),
        ("upon-replay-origin", b"orders/0/7@1700000000000"),
        ("upon-replays", b"1"),
        ("upon-replay-group", b"s.f"),
    ) == record.headers


def test_a_letter_that_failed_again_keeps_its_first_place(yard: Yard) -> None:
    yard.bury(9, upon_replay_origin=b"orders/0/2@1600000000000", upon_replays=b"1", upon_replay_group=b"old")
    yard.run()
    [record] = yard.broker.records("orders")
    assert {
        "upon-replay-origin": b"orders/0/2@1600000000000",
        "upon-replays": b"2",
        "upon-replay-group": b"s.f",
    } == dict(record.headers)


@pytest.mark.parametrize(
    ("wish", "headers"),
    [({"everyone": True}, {}), ({"to": "elsewhere"}, {}), ({}, {"upon_group": None})],
    ids=["everyone", "another topic", "a letter without a group"],
)
def test_for_every_group(yard: Yard, wish: dict[str, object], headers: dict[str, bytes | None]) -> None:
    yard.broker.create_topic("elsewhere", 1)
    yard.bury(1, **headers)
    yard.run(**wish)
    [record] = yard.broker.records(str(wish.get("to", "orders")))
    assert "upon-replay-group" not in dict(record.headers)


def test_the_partition_is_the_origins_where_there_is_one() -> None:
    yard = Yard(partitions=3)
    yard.bury(0, partition=2)
    yard.bury(0, partition=1, upon_origin=b"orders/7/0")
    yard.run()
    assert [None, 2] == [outgoing.partition for call in yard.writer.calls for outgoing in call]


# What is noted


def test_a_second_call_replays_nothing(yard: Yard) -> None:
    for number in range(3):
        yard.bury(number)
    assert 3 == yard.run().result.replayed
    assert 0 == yard.run().result.replayed
    assert [b"0", b"1", b"2"] == yard.written
    yard.bury(3)
    assert 1 == yard.run().result.replayed


def test_after_some_were_picked_the_rest_is_pending(yard: Yard) -> None:
    for number in range(6):
        yard.bury(number, upon_error_kind=b"rejected" if number % 2 else b"error")
    yard.run(filter=Filter(kinds={"rejected"}))
    assert 0 == yard.position().offset
    yard.run(filter=Filter(ids={(0, 0), (0, 4)}))
    assert 2 == yard.position().offset
    yard.run()
    assert [b"1", b"3", b"5", b"0", b"4", b"2"] == yard.written
    assert (6, "") == yard.position()


def test_again_is_said_explicitly(yard: Yard) -> None:
    yard.bury(0)
    yard.run()
    yard.run(again=True)
    assert [b"0", b"0"] == yard.written


def test_the_limit_leaves_the_rest(yard: Yard) -> None:
    for number in range(5):
        yard.bury(number)
    assert (2, "limit") == ((result := yard.run(limit=2).result).replayed, result.ended)
    assert 2 == yard.position().offset
    yard.run(limit=100)
    assert [b"0", b"1", b"2", b"3", b"4"] == yard.written


def test_it_is_noted_after_every_window(yard: Yard) -> None:
    for number in range(WINDOW * 2 + 5):
        yard.bury(number)
    replay = yard.replay()
    positions = []
    write = yard.writer.write

    def watched(records):  # type: ignore[no-untyped-def]
        positions.append(dict(yard.archive.committed(f"{DEAD}.dlq", DEAD)))
        return write(records)

    replay.writer.write = watched  # type: ignore[method-assign]
    replay.run()
    assert [None, WINDOW, 2 * WINDOW] == [p[0].offset if p else None for p in positions]


def test_brokers_that_go_away_lose_nothing(yard: Yard) -> None:
    for number in range(WINDOW + 1):
        yard.bury(number)
    replay = yard.replay()
    write = yard.writer.write

    def breaks(records):  # type: ignore[no-untyped-def]
        if yard.writer.calls:
            raise SourceError("no Kafka broker answers")
        return write(records)

    replay.writer.write = breaks  # type: ignore[method-assign]
    assert isinstance(replay.ledger, GroupLedger)
    with replay.ledger, pytest.raises(SourceError):
        replay.run()
    yard.writer.write = write  # type: ignore[method-assign]
    assert WINDOW == yard.position().offset
    assert 1 == yard.run().result.replayed


def test_a_stop_keeps_what_was_done(yard: Yard) -> None:
    for number in range(5):
        yard.bury(number)
    replay = yard.replay()
    asked = iter([False, False, True])
    replay.stop = lambda: next(asked)
    result = replay.run()
    assert (2, "stopped") == (result.replayed, result.ended)
    assert 2 == yard.position().offset


def test_no_more_is_replayed_than_can_be_noted(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (notes, replayed):
        monkeypatch.setattr(module, "SPAN", 250)
    for number in range(253):
        yard.bury(number)
    result = yard.run(filter=Filter(keys={b"k%d" % number for number in range(1, 253)})).result
    assert ("full", "0/251", 250) == (result.ended, result.full_at, result.replayed)
    assert "" == yard.run().result.ended
    assert 253 == len(set(yard.written)) == len(yard.written)


def test_letters_that_were_deleted_are_not_pending(yard: Yard) -> None:
    for number in range(4):
        yard.bury(number)
    yard.run(filter=Filter(ids={(0, 1)}))
    yard.archive.cut[DEAD, 0] = 3
    assert {3} == {replayed_of(yard.archive, DEAD, yard.archive.bounds(DEAD))[0].pending}
    yard.run()
    assert [b"1", b"3"] == yard.written


def test_a_topic_that_was_made_anew_begins_anew(yard: Yard) -> None:
    for number in range(4):
        yard.bury(number)
    yard.run()
    yard.broker._topics[DEAD] = [[]]
    yard.bury(9)
    yard.run()
    assert [b"0", b"1", b"2", b"3", b"9"] == yard.written


# What stays


def test_what_can_not_be_replayed_stays(yard: Yard) -> None:
    yard.bury(0, upon_origin=None)
    yard.bury(1, upon_origin=b"gone/0/0")
    yard.bury(2)
    yard.bury(3)
    yard.writer.refuses[b"2"] = TooLarge("too large")
    replay = yard.replay()
    steps = []
    replay.told = steps.append
    replay.run()
    assert (1, 3) == (replay.result.replayed, replay.result.left)
    assert {
        "0/0": "it does not say where it came from: name a topic with --to",
        "0/1": "there is no topic 'gone' any more: make it, or name another with --to",
        "0/2": "too large",
        "0/3": "",
    } == {step.letter.id: step.reason for step in steps}
    assert [b"3"] == yard.written
    assert 0 == yard.position().offset


def test_a_letter_that_nobody_would_handle_stays(yard: Yard) -> None:
    yard.bury(0, upon_group=b"renamed")
    replay = yard.replay()
    steps = []
    replay.told = steps.append
    replay.run()
    [step] = steps
    assert step.reason.startswith("the group 'renamed' has never committed in 'orders'")
    assert isinstance(replay.ledger, GroupLedger)
    replay.ledger.__exit__(None, None, None)
    assert 1 == yard.run(everyone=True).result.replayed


def test_a_pointer_brings_the_original(yard: Yard) -> None:
    record = yard.broker.publish("orders", b"large", key=b"k", headers=[("h", b"1")], timestamp=5)
    yard.bury(0, upon_omitted=b"the value of 5 bytes")
    yard.run()
    [_, again] = yard.broker.records("orders")
    assert (record.key, record.value) == (again.key, again.value)
    assert {
        "h": b"1",
        "upon-replay-origin": b"orders/0/0@5",
        "upon-replays": b"1",
        "upon-replay-group": b"s.f",
    } == dict(again.headers)


def test_a_pointer_to_nothing_stays(yard: Yard) -> None:
    yard.bury(0, upon_omitted=b"the value of 5 bytes")
    replay = yard.run()
    assert (0, 1) == (replay.result.replayed, replay.result.left)


# How it goes on


def test_the_rate_is_kept(yard: Yard) -> None:
    for number in range(41):
        yard.bury(number)
    began = yard.now
    yard.run(rate=20.0)
    assert 1.9 < yard.now - began < 2.1


def test_a_slow_replay_writes_each_letter_in_time(yard: Yard) -> None:
    for number in range(3):
        yard.bury(number)
    yard.run(rate=0.1)
    assert [1, 1, 1] == [len(call) for call in yard.writer.calls]


def test_two_replays_at_once_are_refused(yard: Yard) -> None:
    yard.bury(0)
    first = yard.replay()
    with pytest.raises(SourceError, match=r"another replay of 'orders\.f\.dead' is"):
        yard.replay()
    assert 1 == first.run().replayed


def test_a_replay_that_was_pushed_aside_says_so(yard: Yard) -> None:
    yard.bury(0)
    replay = yard.replay()
    assert isinstance(replay.ledger, GroupLedger)
    replay.ledger._consumer.lose()  # type: ignore[attr-defined]
    with pytest.raises(SourceError, match=r"took orders\.f\.dead/0 over"):
        replay.run()


def test_a_preview_writes_nothing(yard: Yard) -> None:
    for number in range(4):
        yard.bury(number)
    yard.run(limit=1)
    bounds = yard.archive.bounds(DEAD)
    done = replayed_of(yard.archive, DEAD, bounds)
    steps = preview(yard.archive, DEAD, bounds, done, Wish(limit=2))
    assert ["0/1", "0/2"] == [step.letter.id for step in steps]
    steps = preview(yard.archive, DEAD, bounds, done, Wish(again=True))
    assert ["0/0", "0/1", "0/2", "0/3"] == [step.letter.id for step in steps]
    assert [b"0"] == yard.written
