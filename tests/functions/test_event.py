from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from upon import DataError, Event, HttpInfo, KafkaInfo, MalformedEvent

CORE = {"id": "1", "source": "/tests", "type": "com.example.created"}


def test_of_fills_in_what_is_not_given() -> None:
    event = Event.of({"a": 1})
    assert ("/upon", "upon.event", "1.0") == (event.source, event.type, event.specversion)
    assert "application/json" == event.datacontenttype
    assert event.id != Event.of({"a": 1}).id
    assert event.time is None


def test_of_takes_attributes_and_extensions() -> None:
    event = Event.of("hi", id="1", source="/s", type="t", subject="a", partitionkey="k", datacontenttype="text/plain")
    assert ("1", "/s", "t", "a", "hi") == (event.id, event.source, event.type, event.subject, event.data)
    assert {"partitionkey": "k"} == event.extensions


def test_of_never_replaces_an_empty_id() -> None:
    with pytest.raises(MalformedEvent, match="'id' must be a non-empty string"):
        Event.of(None, id="")


@pytest.mark.parametrize(
    ("data", "content_type", "body", "written_as"),
    [
        ({"a": 1}, None, b'{"a":1}', "application/json"),
        ([1, None], None, b"[1,null]", "application/json"),
        ("text", None, b'"text"', "application/json"),
        (True, None, b"true", "application/json"),
        (0, None, b"0", "application/json"),
        (np.float32(0.5), None, b"0.5", "application/json"),
        ("text", "text/plain", b"text", "text/plain"),
        ("ä", "text/plain; charset=latin-1", b"\xe4", "text/plain; charset=latin-1"),
        ("<a/>", "application/xml", b"<a/>", "application/xml"),
        (b"\x00", None, b"\x00", "application/octet-stream"),
        (bytearray(b"[1]"), "application/json", b"[1]", "application/json"),
        (memoryview(b"ab"), None, b"ab", "application/octet-stream"),
        (None, None, b"", None),
        (None, "text/plain", b"", "text/plain"),
    ],
)
def test_data_becomes_bytes(data: object, content_type: str | None, body: bytes, written_as: str | None) -> None:
    event = Event({**CORE, "datacontenttype": content_type}, data)
    assert (body, written_as) == (event.body, event.datacontenttype)


@pytest.mark.parametrize(
    ("data", "content_type", "message"),
    [
        ({"a": 1}, "text/plain", "data of type dict can't be written as 'text/plain': give bytes"),
        (object(), None, "can't be written as JSON"),
        ("ä", "text/plain; charset=ascii", "charset 'ascii'"),
        ([float("nan")], None, "nan at /0 has no JSON form"),
    ],
)
def test_data_without_a_form_is_refused(data: object, content_type: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Event({**CORE, "datacontenttype": content_type}, data)


@pytest.mark.parametrize(
    ("body", "content_type", "value", "data"),
    [
        (b"[1]", "application/json", "bytes", [1]),
        (b"[1]", "APPLICATION/VND.A+JSON; v=1", "bytes", [1]),
        (b"[1]", "text/json", "bytes", [1]),
        (b"[1]", None, "json", [1]),
        (b"[1]", None, "text", "[1]"),
        (b"[1]", None, "bytes", b"[1]"),
        (b"[1]", "text/plain", "json", "[1]"),
        (b"[1]", "application/octet-stream", "json", b"[1]"),
        (b"[1]", "application/jsonlines", "json", b"[1]"),
        (b"null", "application/json", "json", None),
        (None, "application/json", "json", None),
        (b"", "text/plain", "json", ""),
    ],
)
def test_data_is_decoded_by_content_type(
    body: bytes | None, content_type: str | None, value: Any, data: object
) -> None:
    attributes = {**CORE, "specversion": "1.0"}
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    event = Event._trusted(attributes, body, value=value)
    assert data == event.data
    assert (body or b"") == event.body


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"", "application/json"),
        (b'{"a": NaN}', "application/json"),
        (b"\xff", "text/plain"),
        (b"a", "text/plain; charset=klingon"),
        (b"a", "text/plain; charset=base64"),
    ],
)
def test_undecodable_data_is_an_error_each_time(body: bytes, content_type: str) -> None:
    event = Event({**CORE, "datacontenttype": content_type}, body)
    for _ in range(2):
        with pytest.raises(DataError):
            _ = event.data
    assert body == event.body


@pytest.mark.parametrize("name", ["id", "source", "type"])
def test_a_missing_attribute_is_named(name: str) -> None:
    with pytest.raises(MalformedEvent, match=f"attribute '{name}' is missing") as caught:
        Event({**CORE, name: None})
    assert name == caught.value.attribute


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("specversion", "0.3", "is not supported: send '1.0'"),
        ("id", 1, "'id' must be a non-empty string, not 1"),
        ("subject", "a\nb", r"U\+000A"),
        ("subject", "\ud800", r"U\+D800"),
        ("subject", "\ufdd0", r"U\+FDD0"),
        ("subject", "\U0001ffff", r"U\+1FFFF"),
        ("time", datetime(2026, 1, 1), "has no timezone"),
        ("time", "2026-01-01", "RFC 3339"),
        ("Name", "x", "lower-case letters and digits"),
        ("a_b", "x", "lower-case letters and digits"),
        ("", "x", "lower-case letters and digits"),
        ("data", "x", "not 'data'"),
        ("a" * 21, "x", "has 21 characters: use at most 20"),
        ("number", 2**31, "must fit 32 bits"),
        ("number", 1.5, "must be a string, integer, boolean or bytes"),
    ],
)
def test_a_bad_attribute_is_refused_and_named(name: str, value: object, message: str) -> None:
    with pytest.raises(MalformedEvent, match=message) as caught:
        Event({**CORE, name: value})
    assert name == caught.value.attribute


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=timezone(timedelta(hours=1))), "2026-01-02T03:04:05.000600+01:00"),
        (datetime(1890, 1, 1, 0, 53, 28, tzinfo=timezone(timedelta(minutes=53, seconds=28))), "1890-01-01T00:00:00Z"),
        ("2026-01-02t03:04:05.123456789z", "2026-01-02t03:04:05.123456789z"),
        ("2026-01-31T03:04:05-00:00", "2026-01-31T03:04:05-00:00"),
    ],
)
def test_time_is_rfc_3339(value: object, text: str) -> None:
    event = Event({**CORE, "time": value})
    assert text == event._attributes["time"]
    assert event.time is not None
    assert event.time.tzinfo is not None


def test_the_callers_dict_is_not_kept_or_changed() -> None:
    attributes: dict[str, Any] = {**CORE, "subject": None}
    data = {"a": [1]}
    before = dict(attributes)
    event = Event(attributes, data)
    assert before == attributes
    attributes["id"] = "2"
    data["a"].append(2)
    assert ("1", {"a": [1]}) == (event.id, event.data)


@pytest.mark.parametrize(
    "name", ["id", "source", "type", "data", "body", "kafka", "http", "attempt", "deadline", "extensions", "other"]
)
def test_an_event_is_read_only(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Event.of(), name, "x")


def test_changing_the_extensions_changes_nothing() -> None:
    event = Event.of(partitionkey="k")
    event.extensions["partitionkey"] = "other"
    event.get_attributes()["id"] = "other"
    assert "k" == event.extensions["partitionkey"]
    assert "other" != event.id


def test_a_handler_that_changes_data_spoils_neither_the_body_nor_the_next_try() -> None:
    event = Event.of({"a": 1})
    event.data.clear()
    assert b'{"a":1}' == event.body
    assert {} == event._copy().data
    assert {"a": 1} == event._copy(attempt=2).data
    assert 2 == event._copy(attempt=2).attempt


def test_a_copy_keeps_what_is_not_changed() -> None:
    kafka, http = KafkaInfo("t", 0, 1), HttpInfo("GET", "/")
    event = Event._trusted({**CORE, "specversion": "1.0"}, b"x", value="text", kafka=kafka, http=http)
    changed = event._copy(data="y")
    assert ("y", kafka, http, 1) == (changed.data, changed.kafka, changed.http, changed.attempt)
    assert ("x", None) == (event.data, event.deadline)
    assert event == changed


def test_equality_is_about_attributes_and_bytes() -> None:
    event = Event.of({"a": 1}, id="1")
    assert event == Event.of(b'{"a":1}', id="1", datacontenttype="application/json")
    assert event != Event.of({"a": 2}, id="1")
    assert event != Event.of({"a": 1}, id="2")
    assert event != "event"
    assert 1 == len({event, Event.of({"a": 1}, id="1")})


def test_events_can_be_copied_and_pickled() -> None:
    event = Event.of({"a": 1})
    for same in (copy.copy(event), copy.deepcopy(event), pickle.loads(pickle.dumps(event))):
        assert event == same
        assert {"a": 1} == same.data


def test_repr_is_short() -> None:
    assert "Event(id='1', source='/upon', type='upon.event', body=b'[1]')" == repr(Event.of([1], id="1"))
    assert len(repr(Event.of(b"x" * 1000))) < 200


def test_the_sdks_protocol() -> None:
    event = Event.of({"a": 1}, id="1", subject="s", time="2026-01-01T00:00:00Z", myextension=True)
    assert ("1", "/upon", "upon.event", "1.0") == (
        event.get_id(),
        event.get_source(),
        event.get_type(),
        event.get_specversion(),
    )
    assert ("s", "application/json", None) == (
        event.get_subject(),
        event.get_datacontenttype(),
        event.get_dataschema(),
    )
    assert datetime(2026, 1, 1, tzinfo=UTC) == event.get_time() == event.get_attributes()["time"]
    assert (True, None, None) == (
        event.get_extension("myextension"),
        event.get_extension("id"),
        event.get_extension("none"),
    )


@pytest.mark.parametrize(
    ("data", "content_type", "given"),
    [
        ({"a": 1}, "application/json", {"a": 1}),
        ("hi", "text/plain", "hi"),
        ("hi", "application/json", b'"hi"'),
        ([1], "application/json", b"[1]"),
        (b"{", "application/json", b"{"),
        (b"\x00", "image/png", b"\x00"),
        (None, None, None),
    ],
)
def test_the_sdk_gets_data_in_a_form_that_it_writes_rightly(
    data: object, content_type: str | None, given: object
) -> None:
    assert given == Event({**CORE, "datacontenttype": content_type}, data).get_data()
