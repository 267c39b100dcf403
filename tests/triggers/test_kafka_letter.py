"""Dead letters read again: headers that say something, that say nothing, and what a filter makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from upon import Failed
from upon._kafka_codec import read_record
from upon_triggers.kafka.dead_letter import GROUP_LIMIT, error_headers, is_for_another, pointer_headers
from upon_triggers.kafka.letter import DeadLetter, Filter, Place, replay_headers
from upon_triggers.kafka.memory import MemoryRecord
from upon_triggers.kafka.notes import SPAN
from upon_triggers.kafka.replayed import Replayed
from upon_triggers.kafka.transport import Headers, Partition, Position

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def record(
    headers: Headers = (), *, offset: int = 5, value: bytes | None = b"{}", timestamp: int = 1000
) -> MemoryRecord:
    return MemoryRecord("orders", 0, offset, b"k", value, tuple(headers), timestamp)


def told(failed: MemoryRecord, group: str | None = "s.f") -> list[tuple[str, bytes | None]]:
    failure = Failed("rejected", "broken: " + "x" * 2000)
    place = Partition("orders", 2)
    return error_headers(failed, place, failure, attempts=3, function="f", group=group, now=NOON)


def letter(**said: str) -> DeadLetter:
    headers = [(name.replace("_", "-"), value.encode()) for name, value in said.items()]
    return DeadLetter.read(0, record(headers))


def test_what_is_written_is_read() -> None:
    found = DeadLetter.read(4, record(told(record([("h", b"1")])), offset=9))
    assert ("rejected", 3, "f", "s.f", NOON) == (found.kind, found.attempts, found.function, found.group, found.time)
    assert found.error is not None
    assert 1000 == len(found.error)
    assert Place("orders", 2, 5, 1000) == found.origin
    assert ("4/9", False, 0) == (found.id, found.is_pointer, found.replays)


def test_a_foreign_record_says_nothing() -> None:
    found = DeadLetter.read(0, record([("upon-origin", b"x"), ("upon-attempts", b"-1"), ("upon-error", None)]))
    nothing = (found.kind, found.error, found.attempts, found.function, found.group, found.origin, found.omitted)
    assert (None,) * 7 == nothing
    assert datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC) == found.time


@pytest.mark.parametrize("said", ["", "yesterday", "2026-13-01T00:00:00Z"])
def test_a_time_that_is_none_is_the_records(said: str) -> None:
    assert datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC) == letter(upon_time=said).time


def test_headers_do_not_grow_from_death_to_death() -> None:
    once = told(record())
    replayed = replay_headers(DeadLetter.read(0, record(once)), once, Place("orders", 2, 5, 1000), "s.f")
    twice = told(record(replayed, offset=8))
    again = replay_headers(DeadLetter.read(0, record(twice)), twice, Place("orders", 2, 8, 2000), "s.f")
    thrice = told(record(again, offset=11))
    assert len(twice) == len(thrice) == len(once) + 2
    assert {"upon-replay-origin": b"orders/2/5@1000", "upon-replays": b"2", "upon-replay-group": b"s.f"} == dict(again)


def test_a_group_too_long_for_a_header_is_left_out() -> None:
    assert "upon-group" not in dict(told(record(), "g" * (GROUP_LIMIT + 1)))
    assert "upon-group" not in dict(told(record(), None))


def test_a_pointer_says_what_is_missing() -> None:
    headers = pointer_headers(
        record([("h", b"x" * 9)], value=b"x" * 7),
        Partition("orders", 0),
        Failed("error", "e"),
        attempts=1,
        function="f",
    )
    found = DeadLetter.read(0, record(headers, value=None))
    assert found.omitted == "the value of 7 bytes and 1 headers: read them at the origin"
    assert "h" not in dict(headers)


@pytest.mark.parametrize(
    ("value", "group", "other"),
    [(b"s.f", "s.f", False), (b"s.f", "s.g", True), (b"", "s.g", False), (None, "s.g", False), (b"s.f", None, False)],
)
def test_a_replay_for_another_group(value: bytes | None, group: str | None, other: bool) -> None:
    assert other == is_for_another([("h", b"1"), ("upon-replay-group", value)], group)
    assert not is_for_another([("h", b"1")], group)


# Which letters


@pytest.mark.parametrize(
    ("given", "matches"),
    [
        ({}, True),
        ({"functions": {"f", "g"}}, True),
        ({"functions": {"g"}}, False),
        ({"kinds": {"error"}}, True),
        ({"kinds": {"rejected"}}, False),
        ({"keys": {b"k"}}, True),
        ({"keys": {b"x"}}, False),
        ({"since": NOON}, True),
        ({"since": NOON.replace(minute=1)}, False),
        ({"until": NOON}, False),
        ({"until": NOON.replace(minute=1)}, True),
        ({"partition": 0}, True),
        ({"partition": 1}, False),
        ({"ids": {(0, 5)}}, True),
        ({"ids": {(1, 5), (0, 4)}}, False),
        ({"error": "BROKEN"}, True),
        ({"error": "whole"}, False),
        ({"kinds": {"error"}, "keys": {b"x"}}, False),
    ],
)
def test_filters(given: Mapping[str, Any], matches: bool) -> None:
    found = letter(
        upon_function="f", upon_error_kind="error", upon_error="it is Broken", upon_time="2026-01-31T12:00:00Z"
    )
    assert matches == Filter(**given).matches(found)


def test_only_what_may_match_is_read() -> None:
    bounds = {0: (10, 20), 1: (0, 5)}
    assert bounds == Filter().spans(bounds)
    assert {1: (0, 5)} == Filter(partition=1).spans(bounds)
    assert {0: (12, 18)} == Filter(ids={(0, 12), (0, 17), (0, 3), (1, 5), (7, 0)}).spans(bounds)


# The event of a replayed record


def read(headers: Headers, *, topic: str = "orders", offset: int = 5, timestamp: int = 1000) -> Any:
    return read_record(
        topic=topic, partition=2, offset=offset, key=b"k", value=b"{}", headers=headers, timestamp_ms=timestamp,
        value_format="json", source=f"/apis/v1/namespaces/ml/kafkasources/s-f#{topic}",
    )  # fmt: skip


@pytest.mark.parametrize("headers", [[], [("h", b"1"), ("content-type", b"application/json")]])
@pytest.mark.parametrize("topic", ["orders", "elsewhere"])
def test_a_replayed_record_is_the_same_event(headers: list[tuple[str, bytes | None]], topic: str) -> None:
    first = read(headers)
    marks = [("upon-replay-origin", b"orders/2/5@1000"), ("upon-replays", b"1"), ("upon-replay-group", b"s.f")]
    again = read([*headers, *marks], topic=topic, offset=8, timestamp=2000)
    assert first._attributes == again._attributes
    assert (topic, 8) == (again.kafka.topic, again.kafka.offset)


@pytest.mark.parametrize("value", [b"", b"orders", b"orders/2", b"a b/1/2", b"orders/2/5@", b"orders/2/5\n", None])
def test_a_place_that_is_none_changes_nothing(value: bytes | None) -> None:
    assert read([])._attributes == read([("upon-replay-origin", value)])._attributes


def test_a_cloudevent_has_its_id_in_itself() -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"7"), ("ce_source", b"/s"), ("ce_type", b"t")]
    assert "7" == read([*headers, ("upon-replay-origin", b"orders/2/5")]).id


# What is noted of a partition


def test_what_was_replayed_is_kept_and_read() -> None:
    done = Replayed(10)
    for offset in (10, 12, 13, 40, 3):
        done.add(offset)
    again = Replayed.read(done.position(), (0, 100))
    assert (11, {12, 13, 40}) == (again.pending, again.above)
    assert [True, True, False, True] == [offset in again for offset in (3, 10, 11, 12)]


def test_what_is_no_letter_is_passed_over() -> None:
    done = Replayed(0, {4})
    done.skip(0, 3)
    assert (3, {4}) == (done.pending, done.above)
    done.skip(3, 4)
    assert (5, set()) == (done.pending, done.above)
    done.skip(7, 10**9)
    assert max(done.above) <= 5 + SPAN
    assert Replayed.read(done.position(), (0, 10**9)).above == done.above


@pytest.mark.parametrize(
    ("position", "span", "pending"),
    [
        (None, (3, 9), 3),
        (Position(5, ""), (3, 9), 5),
        (Position(5, "somebody else's"), (3, 9), 5),
        (Position(5, ""), (7, 9), 7),
        (Position(50, ""), (0, 9), 0),
    ],
)
def test_a_commit_is_read_with_what_the_topic_holds(
    position: Position | None, span: tuple[int, int], pending: int
) -> None:
    assert pending == Replayed.read(position, span).pending
