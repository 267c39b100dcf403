"""What a trigger host says beside an event arrives as it was, and nonsense does no harm."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upon import Event, MalformedEvent
from upon._event import KafkaInfo
from upon._kafka_codec import PartitionReader
from upon._relay import (
    ORIGIN,
    read_attempts,
    read_items,
    read_origin,
    write_attempts,
    write_item,
    write_origin,
)

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]))
MILLISECONDS = st.integers(0, 4_102_444_800_000)
RECORDS = st.builds(
    KafkaInfo,
    st.text("abcXYZ019._-", min_size=1),
    st.integers(0, 2**31),
    st.integers(0, 2**63),
    st.none() | st.binary(),
    st.lists(st.tuples(TEXT, st.none() | st.binary())).map(tuple),
    st.none() | MILLISECONDS.map(lambda ms: datetime.fromtimestamp(ms / 1000, UTC)),
)


class Row(NamedTuple):
    """A record as a client gives it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[()]
    timestamp: int


def event_with(**attributes: Any) -> Event[Any]:
    return Event._trusted({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **attributes}, b"{}")


@given(RECORDS, st.sampled_from(["json", "text", "bytes"]))
def test_an_origin_arrives_as_it_was(info: KafkaInfo, value: Any) -> None:
    sent = event_with()
    sent._kafka, sent._value = info, value
    line = write_origin(sent)
    received = event_with(**{ORIGIN: line})
    read_origin(received)
    assert (info, value, {}) == (received.kafka, received._value, received.extensions)


def test_without_a_record_there_is_no_origin() -> None:
    event = event_with()
    assert None is write_origin(event)
    read_origin(event)
    assert None is event.kafka


@pytest.mark.parametrize(
    "line",
    [
        "",
        "orders",
        "orders 0 1 - json",
        "orders x 1 - json -",
        "orders 0 1 - yaml -",
        "orders 0 1 99999999999999999999 json -",
        "orders 0 1 - json k",
        "orders 0 1 - json .!",
        "orders 0 1 - json - [1]",
        "orders 0 1 - json - {",
        b"orders 0 1 - json -",
    ],
)
def test_what_is_no_origin_stays_an_attribute(line: Any) -> None:
    event = event_with(**{ORIGIN: line})
    read_origin(event)
    assert (None, "json", {ORIGIN: line}) == (event.kafka, event._value, event.extensions)


@given(st.lists(st.integers(1, 999_999_999), min_size=1))
def test_attempts_arrive_as_they_were(attempts: list[int]) -> None:
    header = write_attempts([event_with()._copy(attempt=attempt) for attempt in attempts])
    assert (header is None) == (set(attempts) == {1})
    received: list[Any] = [event_with() for _ in attempts]
    read_attempts(header or "", received)
    assert attempts == [event.attempt for event in received]


@pytest.mark.parametrize(
    ("header", "expected"),
    [("", 1), ("0", 1), ("-1", 1), ("x", 1), ("3", 3), (" 3 ,4", 3), ("٣", 1), ("9" * 5000, 1)],
)
def test_an_attempt_is_a_number_from_1(header: str, expected: int) -> None:
    event = event_with()
    read_attempts(header, [event])
    assert expected == event.attempt


def test_attempts_for_what_is_no_event_are_passed_over() -> None:
    event = event_with()
    read_attempts("2, 3, 4", [ValueError(), event])
    assert 3 == event.attempt


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**62), st.none() | st.binary(), st.none() | st.binary(), st.integers(-1, 4_102_444_800_000)
        ),
        max_size=5,
    ),
    st.sampled_from(["json", "text", "bytes"]),
)
def test_a_plain_record_is_the_same_event_at_the_other_end(records: list[Any], value: Any) -> None:
    reader = PartitionReader("orders", 3, value_format=value, source="/apis/v1/x#orders")
    rows = [Row(offset, key, body, (), timestamp) for offset, key, body, timestamp in records]
    body = orjson.dumps([write_item(reader.read(row)) for row in rows])
    received = read_items(body)
    assert [told(reader.read(row)) for row in rows] == [told(event) for event in received]


def told(event: Any) -> tuple[Any, ...]:
    return (event.get_attributes(), event._body, event._value, event.kafka, event.attempt)


@given(RECORDS, st.none() | st.binary())
def test_any_other_event_is_the_same_too(info: KafkaInfo, body: bytes | None) -> None:
    sent = Event._trusted({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, body, kafka=info)
    [received] = read_items(orjson.dumps([write_item(sent)]))
    assert isinstance(received, Event)
    read_origin(received)
    assert told(sent) == told(received)


@pytest.mark.parametrize("origin", ["plain", "orders 0 x - json - plain", "orders 0 1 - json - - plain"])
def test_an_origin_of_a_plain_record_that_cannot_be_read_stays_an_attribute(origin: str) -> None:
    item = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", ORIGIN: origin}
    [received] = read_items(orjson.dumps([item]))
    assert isinstance(received, Event)
    assert {ORIGIN: origin} == received.extensions


def test_what_is_no_event_is_told_for_itself() -> None:
    good = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    found = read_items(orjson.dumps([good, 3, "x", None, {}, {**good, "data_base64": "!"}, good]))
    assert [Event, *[MalformedEvent] * 5, Event] == [type(item) for item in found]


@pytest.mark.parametrize("body", [b"", b"{}", b"3", b"[", b"\xff"])
def test_what_is_no_batch_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedEvent):
        read_items(body)
