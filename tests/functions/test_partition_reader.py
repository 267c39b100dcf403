"""Events that are made from a record when somebody asks: nobody can tell them from those that were made at once."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upon import DataError, Event, KafkaInfo, MalformedEvent
from upon._data import ValueFormat
from upon._kafka_codec import PartitionReader, read_record

SOURCE = "/apis/v1/namespaces/default/kafkasources/svc-f#t"


class Record(NamedTuple):
    offset: int = 42
    key: bytes | None = b"k"
    value: bytes | None = b'{"a":1}'
    headers: Any = ()
    timestamp: int = 1_700_000_000_123


def lazily(record: Record, value_format: ValueFormat = "json") -> Event[Any]:
    return PartitionReader("t", 3, value_format=value_format, source=SOURCE).read(record)


def at_once(record: Record, value_format: ValueFormat = "json") -> Event[Any]:
    return read_record(
        topic="t",
        partition=3,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=record.headers,
        timestamp_ms=record.timestamp,
        value_format=value_format,
        source=SOURCE,
    )


def shown(event: Event[Any]) -> list[Any]:
    """Everything that can be seen of an event."""
    try:
        data = event.data
    except DataError as error:
        data = str(error)
    return [
        *(event.id, event.source, event.type, event.subject, event.time, event.datacontenttype, event.dataschema),
        *(event.specversion, event.extensions, event.body, data, event.kafka, event.http, event.attempt),
        *(
            event.deadline,
            event.get_attributes(),
            event.get_extension("key"),
            event.get_data(),
            event._key,
            repr(event),
        ),
    ]


@given(
    st.builds(
        Record,
        st.integers(0, 2**63 - 1),
        st.none() | st.binary(max_size=8) | st.text(max_size=8).map(str.encode),
        st.none() | st.binary(max_size=8) | st.just(b'{"a":1}'),
        st.sampled_from([(), []]),
        st.integers(-1, 2**42) | st.integers(2**53, 2**63 - 1),
    ),
    st.sampled_from(["json", "text", "bytes"]),
)
def test_they_are_the_same(record: Record, value_format: ValueFormat) -> None:
    made = at_once(record, value_format)
    assert shown(made) == shown(lazily(record, value_format))
    assert made == lazily(record, value_format)
    assert lazily(record, value_format) == made
    assert hash(made) == hash(lazily(record, value_format))


@pytest.mark.parametrize("name", ["id", "kafka", "data", "_key", "extensions", "time", "datacontenttype"])
def test_whatever_is_asked_first(name: str) -> None:
    assert getattr(at_once(Record()), name) == getattr(lazily(Record()), name)


def test_what_was_made_is_kept() -> None:
    event = lazily(Record())
    assert event._attributes is event._attributes
    assert event.kafka is event.kafka
    assert KafkaInfo("t", 3, 42, b"k", (), datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)) == event.kafka


def test_records_with_headers_are_read_at_once() -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/s"), ("ce_type", b"t")]
    assert at_once(Record(headers=headers)) == lazily(Record(headers=headers))
    with pytest.raises(MalformedEvent, match="'type' is missing"):
        lazily(Record(headers=headers[:3]))


def test_copies_for_another_try_know_their_record_too() -> None:
    again = lazily(Record())._copy(attempt=2)
    assert (2, "partition:3/offset:42", {"a": 1}, 42) == (again.attempt, again.id, again.data, again.kafka.offset)
    assert [1] == lazily(Record())._copy(data=[1]).data


def test_they_can_be_copied_and_pickled_without_their_record() -> None:
    event = lazily(Record())
    for same in (copy.copy(event), copy.deepcopy(event), pickle.loads(pickle.dumps(lazily(Record())))):
        assert shown(at_once(Record())) == shown(same)
        assert same._record is None


def test_they_are_read_only_and_have_nothing_else() -> None:
    event: Any = lazily(Record())
    for name in ("id", "data", "kafka"):
        with pytest.raises(AttributeError):
            setattr(event, name, "x")
    with pytest.raises(AttributeError, match="'Event' object has no attribute 'nothing'"):
        event.nothing  # noqa: B018
    with pytest.raises(AttributeError):
        event.nothing = 1
    assert not hasattr(event, "__dict__")
