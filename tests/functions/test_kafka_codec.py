from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from upon import Event, KafkaInfo, MalformedEvent
from upon._kafka_codec import read_record, write_record

SOURCE = "/apis/v1/namespaces/default/kafkasources/reviews-score#reviews"
CORE = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"1"),
    ("ce_source", b"/tests"),
    ("ce_type", b"com.example.created"),
]
STRUCTURED = ("content-type", b"application/cloudevents+json")
WHOLE = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "com.example.created", "data": [1]}


def read(value: bytes | None = None, headers: list[tuple[str, bytes | None]] | None = None, **given: Any) -> Event[Any]:
    record: dict[str, Any] = {
        "topic": "reviews",
        "partition": 3,
        "offset": 42,
        "key": None,
        "value": value,
        "headers": headers or [],
        "timestamp_ms": 1_700_000_000_123,
        "value_format": "json",
        "source": SOURCE,
    }
    return read_record(**{**record, **given})


def test_a_plain_record_becomes_the_event_of_knatives_kafka_source() -> None:
    event = read(b'{"a":1}', [("Correlation-Id", b"7"), ("content-type", b"application/json")], key=b"k1")
    assert {
        "specversion": "1.0",
        "id": "partition:3/offset:42",
        "source": SOURCE,
        "type": "dev.knative.kafka.event",
        "subject": "partition:3#42",
        "time": "2023-11-14T22:13:20.123Z",
        "datacontenttype": "application/json",
        "partitionkey": "k1",
        "key": "k1",
        "kafkaheadercorrelationid": "7",
    } == event._attributes
    assert {"a": 1} == event.data


def test_every_event_says_which_record_it_was() -> None:
    headers = [("a", b"\xff"), ("b", None)]
    info = KafkaInfo("reviews", 3, 42, b"\xff", tuple(headers), datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC))
    assert info == read(b"1", headers, key=b"\xff").kafka
    for more, value in ((CORE, b"1"), ([STRUCTURED], json.dumps(WHOLE).encode())):
        kafka = read(value, [*headers, *more], key=b"k").kafka
        assert kafka is not None
        assert ("reviews", 3, 42, b"k") == (kafka.topic, kafka.partition, kafka.offset, kafka.key)


@pytest.mark.parametrize(("value_format", "data"), [("json", {"a": 1}), ("text", '{"a": 1}'), ("bytes", b'{"a": 1}')])
@pytest.mark.parametrize("headers", [[], CORE])
def test_without_a_content_type_the_trigger_says_how_to_read_a_value(
    headers: list[tuple[str, bytes | None]], value_format: str, data: object
) -> None:
    assert data == read(b'{"a": 1}', headers, value_format=value_format).data


def test_a_content_type_goes_before_the_triggers_format() -> None:
    assert "1" == read(b"1", [("Content-Type", b"text/plain")], value_format="bytes").data


@pytest.mark.parametrize("headers", [[], CORE])
def test_a_null_value_is_no_data(headers: list[tuple[str, bytes | None]]) -> None:
    event = read(None, headers)
    assert event.data is None
    assert b"" == event.body


@pytest.mark.parametrize("key", [b"\xff\xfe", b"\x00\x01", b""])
def test_a_key_that_is_no_text_stays_bytes_and_makes_no_attribute(key: bytes) -> None:
    event = read(b"1", key=key)
    assert {} == event.extensions
    assert event.kafka is not None
    assert key == event.kafka.key


def test_headers_of_a_plain_record_that_are_no_text_are_kept_as_bytes_only() -> None:
    headers: list[tuple[str, bytes | None]] = [("a", b"\xff"), ("b", None), ("c", b"\x00"), ("content-type", b"\xff")]
    event = read(b"1", headers)
    assert {} == event.extensions
    assert event.datacontenttype is None
    assert event.kafka is not None
    assert tuple(headers) == event.kafka.headers


@pytest.mark.parametrize("timestamp_ms", [None, -1, 10**18])
def test_a_record_without_a_usable_timestamp_has_no_time(timestamp_ms: int | None) -> None:
    event = read(b"1", timestamp_ms=timestamp_ms)
    assert event.time is None
    assert event.kafka is not None
    assert event.kafka.timestamp is None


def test_binary_mode() -> None:
    headers = [*CORE, ("ce_subject", "Grüße 100%20".encode()), ("content-type", b"application/json"), ("x", b"y")]
    event = read(b"[1]", headers)
    assert {
        "specversion": "1.0",
        "id": "1",
        "source": "/tests",
        "type": "com.example.created",
        "subject": "Grüße 100%20",
        "datacontenttype": "application/json",
    } == event._attributes
    assert [1] == event.data


def test_the_records_key_never_overwrites_the_partition_key() -> None:
    assert "mine" == read(b"1", [*CORE, ("ce_partitionkey", b"mine")], key=b"other").extensions["partitionkey"]
    assert {} == read(b"1", [*CORE], key=b"other").extensions


def test_structured_mode_ignores_stray_headers() -> None:
    event = read(json.dumps(WHOLE).encode(), [("ce_id", b"other"), ("ce_foo", b"x"), STRUCTURED], key=b"k")
    assert "1" == event.id
    assert [1] == event.data
    assert {} == event.extensions


def test_a_stray_ce_header_makes_no_cloudevent() -> None:
    event = read(b"1", [("ce_traceparent", b"00-1")])
    assert "dev.knative.kafka.event" == event.type
    assert {"kafkaheadercetraceparent": "00-1"} == event.extensions


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
@pytest.mark.parametrize("value", ["absent", "null"])
def test_a_half_baked_cloudevent_is_malformed(name: str, value: str) -> None:
    headers: list[tuple[str, bytes | None]] = [header for header in CORE if header[0] != f"ce_{name}"]
    if value == "null":
        headers.append((f"ce_{name}", None))
    with pytest.raises(MalformedEvent, match=f"'{name}' is missing: send it as the header ce_{name}") as caught:
        read(b"1", headers)
    assert name == caught.value.attribute


@pytest.mark.parametrize(
    ("value", "headers", "message"),
    [
        (b"1", [*CORE, ("ce_id", b"2")], "'id' is given twice"),
        (b"1", [*CORE, ("ce_subject", b"\xff")], "'ce_subject' is not UTF-8 text"),
        (b"1", [*CORE, ("ce_time", b"now")], "'time' must be"),
        (b"1", [*CORE, ("ce_my_name", b"x")], "name 'my_name' must be"),
        (b"1", [*CORE, ("ce_datacontenttype", b"text/plain")], "sent as the header content-type"),
        (b"1", [*CORE[1:], ("ce_specversion", b"0.3")], "specversion '0.3' is not supported"),
        (b"{", [STRUCTURED], "not JSON"),
        (None, [STRUCTURED], "not JSON"),
        (b"[]", [("content-type", b"application/cloudevents-batch+json")], "a batch in a Kafka record"),
        (b"", [("content-type", b"application/cloudevents+protobuf")], "is not supported"),
    ],
)
def test_a_broken_cloudevent_is_refused(
    value: bytes | None, headers: list[tuple[str, bytes | None]], message: str
) -> None:
    with pytest.raises(MalformedEvent, match=message):
        read(value, headers)


def test_writing_is_binary_mode() -> None:
    event = Event({"id": "1", "source": "/s", "type": "t", "subject": "Grüße", "flag": True}, [True])
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"1"),
        ("ce_source", b"/s"),
        ("ce_type", b"t"),
        ("ce_subject", "Grüße".encode()),
        ("ce_flag", b"true"),
        ("content-type", b"application/json"),
    ]
    assert (b"k", b"[true]", headers) == write_record(event, b"k")


def test_no_data_is_written_as_a_null_value() -> None:
    assert write_record(Event.of(None), None)[1] is None
    assert b"" == write_record(Event.of(b""), None)[1]
