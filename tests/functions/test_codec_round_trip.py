"""Any event survives any mode of any protocol, and the CloudEvents SDK reads the same where it is right."""

from __future__ import annotations

import string
from typing import Any

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings import http as sdk_http
from cloudevents.core.bindings import kafka as sdk_kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from upon import Event
from upon._http_codec import read_batch, read_environ, read_event, write_batch, write_binary, write_structured
from upon._kafka_codec import read_record, write_record

FEW = settings(max_examples=50, deadline=None)

text = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=12)
names = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20).filter(
    lambda name: name not in {"data", "specversion", "id", "source", "type", "subject", "time", "dataschema"}
)
json_data = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
data = st.one_of(
    st.tuples(json_data, st.sampled_from(["application/json", "application/vnd.a+json; v=1"])),
    st.tuples(text, st.sampled_from(["text/plain", "text/csv; charset=utf-8"])),
    st.tuples(st.binary(min_size=1, max_size=20), st.sampled_from(["application/octet-stream", "image/png"])),
    st.just((None, None)),
)
times = st.datetimes(timezones=st.timezones()).filter(lambda time: time.year > 1900)


@st.composite
def events(draw: st.DrawFn, extensions: st.SearchStrategy[Any] = text) -> Event[Any]:
    value, content_type = draw(data)
    attributes = {
        **draw(st.dictionaries(names.filter(lambda name: name != "datacontenttype"), extensions, max_size=3)),
        "id": draw(text),
        "source": draw(text),
        "type": draw(text),
        "subject": draw(st.none() | text),
        "time": draw(st.none() | times),
        "datacontenttype": content_type,
    }
    return Event(attributes, value)


typed = events(extensions=text | st.booleans() | st.integers(-(2**31), 2**31 - 1))


@FEW
@given(events())
def test_http_binary_mode(event: Event[Any]) -> None:
    headers, body = write_binary(event)
    assert all(value.isascii() and value.isprintable() for _, value in headers)
    assert event == read_event(dict(headers), body)
    environ = {
        name.upper().replace("-", "_") if name == "content-type" else "HTTP_" + name.upper().replace("-", "_"): value
        for name, value in headers
    }
    assert event == read_environ(environ, body)


@FEW
@given(typed)
def test_http_structured_mode(event: Event[Any]) -> None:
    read = read_event({"content-type": "application/cloudevents+json"}, write_structured(event))
    assert event._attributes == read._attributes
    assert event.data == read.data


@FEW
@given(st.lists(typed, max_size=3))
def test_http_batch_mode(batch: list[Event[Any]]) -> None:
    read = read_batch({"content-type": "application/cloudevents-batch+json"}, write_batch(batch))
    assert [event._attributes for event in batch] == [event._attributes for event in read]
    assert [event.data for event in batch] == [event.data for event in read]


@FEW
@given(events(), st.none() | st.binary(max_size=4))
def test_kafka_binary_mode(event: Event[Any], key: bytes | None) -> None:
    written_key, value, headers = write_record(event, key)
    assert event == record_event(written_key, value, headers)


@FEW
@given(st.binary(max_size=40), st.lists(st.tuples(st.text(max_size=14), st.none() | st.binary(max_size=4)), max_size=3))
def test_any_record_without_marks_can_be_read(value: bytes, headers: list[tuple[str, bytes | None]]) -> None:
    event = record_event(b"k", value, headers)
    assert value == event.body
    assert event.kafka is not None
    assert tuple(headers) == event.kafka.headers


def record_event(key: bytes | None, value: bytes | None, headers: list[Any]) -> Event[Any]:
    return read_record(
        topic="t",
        partition=0,
        offset=1,
        key=key,
        value=value,
        headers=headers,
        timestamp_ms=1,
        value_format="json",
        source="/s",
    )


ATTRIBUTES = {
    "id": "1",
    "source": "/tests",
    "type": "com.example.created",
    "subject": "Grüße 100%",
    "time": "2026-11-22T10:11:12.5Z",
    "myextension": "x y",
}
KINDS = [({"a": [1, None]}, "application/json"), ("hi", "text/plain"), (b"\xff\x00", "application/octet-stream")]


@pytest.mark.parametrize(("value", "content_type"), KINDS)
def test_the_sdk_reads_what_we_write(value: Any, content_type: str) -> None:
    ours = Event({**ATTRIBUTES, "datacontenttype": content_type}, value)
    headers, body = write_binary(ours)
    key, record_value, record_headers = write_record(ours, None)
    assert record_value is not None
    structured = {"content-type": "application/cloudevents+json"}
    for theirs in (
        sdk_http.from_http(sdk_http.HTTPMessage(dict(headers), body), JSONFormat(), CloudEvent),
        sdk_http.from_http(sdk_http.HTTPMessage(structured, write_structured(ours)), JSONFormat(), CloudEvent),
        sdk_kafka.from_kafka(sdk_kafka.KafkaMessage(dict(record_headers), key, record_value), JSONFormat(), CloudEvent),
    ):
        assert ours.get_attributes() == theirs.get_attributes()
        assert value == theirs.get_data()


@pytest.mark.parametrize(("value", "content_type"), KINDS)
@pytest.mark.parametrize("kind", ["theirs", "ours"])
def test_we_read_what_the_sdk_writes_of_its_events_and_of_ours(kind: str, value: Any, content_type: str) -> None:
    ours = Event({**ATTRIBUTES, "datacontenttype": content_type}, value)
    written: BaseCloudEvent = ours if kind == "ours" else CloudEvent(dict(ours.get_attributes()), value)
    binary = sdk_http.to_binary(written, JSONFormat())
    structured = sdk_http.to_structured(written, JSONFormat())
    record = sdk_kafka.to_binary(written, JSONFormat())
    for read in (
        read_event(binary.headers, binary.body),
        read_event(structured.headers, structured.body),
        record_event(None, record.value, list(record.headers.items())),
    ):
        assert ours.get_attributes() == read.get_attributes()
        assert ours.data == read.data


@pytest.mark.parametrize("value", [[1, {"a": None}], True, "text", 1.5])
def test_the_sdk_writes_our_json_data_rightly_too(value: object) -> None:
    """Of its own events it writes Python's repr of a list, and a str without quotes."""
    ours = Event.of(value, datacontenttype="application/json")
    message = sdk_http.to_binary(ours, JSONFormat())
    assert value == read_event(message.headers, message.body).data
    message = sdk_http.to_structured(ours, JSONFormat())
    assert value == read_event(message.headers, message.body).data
