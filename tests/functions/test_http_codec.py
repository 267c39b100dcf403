from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from upon import Event, MalformedEvent
from upon._http_codec import (
    mode_of,
    read_batch,
    read_batch_items,
    read_environ,
    read_event,
    write_batch,
    write_binary,
    write_structured,
)

CORE = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/tests", "ce-type": "com.example.created"}
STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
WHOLE = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "com.example.created"}


def environ_of(headers: dict[str, str]) -> dict[str, Any]:
    """What a WSGI server makes of headers."""
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "wsgi.version": (1, 0), "HTTP_X_HTTP_CE_ID": "no"}
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key == "CONTENT_TYPE" else "HTTP_" + key] = value
    return environ


Read = Callable[[dict[str, str], bytes], Event[Any]]


@pytest.fixture(params=["headers", "environ"])
def read(request: pytest.FixtureRequest) -> Read:
    """Both ways in, which must agree."""
    if request.param == "headers":
        return read_event
    return lambda headers, body: read_environ(environ_of(headers), body)


@pytest.mark.parametrize(
    ("content_type", "mode"),
    [
        (None, "binary"),
        ("", "binary"),
        ("application/json", "binary"),
        ("application/cloudevent", "binary"),
        ("application/cloudevents+json", "structured"),
        ("application/cloudevents+json; charset=utf-8", "structured"),
        ("Application/CloudEvents+JSON", "structured"),
        ("application/cloudevents", "structured"),
        ("application/cloudevents+xml", "structured"),
        ("application/cloudevents-batch+json", "batch"),
        ("APPLICATION/CLOUDEVENTS-BATCH+json;charset=UTF-8", "batch"),
    ],
)
def test_the_content_type_decides_the_mode(content_type: str | None, mode: str) -> None:
    headers = {"ce-id": "1"} if content_type is None else {"ce-id": "1", "content-type": content_type}
    assert mode == mode_of(headers)


def test_binary_mode(read: Read) -> None:
    event = read(
        {
            **CORE,
            "ce-subject": "a",
            "ce-time": "2026-11-22T10:11:12.5Z",
            "ce-dataschema": "https://example.com/s",
            "ce-partitionkey": "k",
            "ce-myextension": "7",
            "content-type": "application/json",
            "x-other": "1",
        },
        b'{"a": 1}',
    )
    assert ("1", "/tests", "com.example.created", "a") == (event.id, event.source, event.type, event.subject)
    assert "2026-11-22T10:11:12.500000+00:00" == event.time.isoformat()
    assert {"partitionkey": "k", "myextension": "7"} == event.extensions
    assert "application/json" == event.datacontenttype
    assert {"a": 1} == event.data
    assert b'{"a": 1}' == event.body


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion"])
def test_a_missing_attribute_is_named_and_never_invented(read: Read, name: str) -> None:
    headers = {header: value for header, value in CORE.items() if header != f"ce-{name}"}
    with pytest.raises(MalformedEvent, match=f"'{name}' is missing: send it as the header ce-{name}") as caught:
        read(headers, b"")
    assert name == caught.value.attribute


def test_no_time_is_invented(read: Read) -> None:
    assert read(CORE, b"").time is None


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion"])
def test_a_missing_member_is_named_and_never_invented(name: str) -> None:
    body = json.dumps({member: value for member, value in WHOLE.items() if member != name}).encode()
    with pytest.raises(MalformedEvent, match=f"'{name}' is missing: send it as the member '{name}'") as caught:
        read_event(STRUCTURED, body)
    assert name == caught.value.attribute


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("specversion", "0.3", "specversion '0.3' is not supported: send '1.0'"),
        ("specversion", "1.0, 1.0", "specversion '1.0, 1.0' is not supported"),  # a repeated header, joined
        ("id", "", "'id' must be a non-empty string"),
        ("subject", "", "'subject' must be a non-empty string"),
        ("time", "yesterday", "'time' must be an RFC 3339 timestamp"),
        ("time", "2026-02-30T00:00:00Z", "'time' must be an RFC 3339 timestamp"),
        ("time", "2026-01-01T00:00:00", "'time' must be an RFC 3339 timestamp"),
        ("time", "20260101T000000Z", "'time' must be an RFC 3339 timestamp"),
        ("my-name", "x", "name 'my-name' must be lower-case letters and digits"),
        ("data", "x", "name 'data' must be"),
        ("datacontenttype", "text/plain", "sent as the header Content-Type"),
        ("subject", "a\tb", r"holds the character U\+0009"),
        ("subject", "%00", r"holds the character U\+0000"),
        ("subject", "%C0%A0", "not percent-encoded UTF-8"),  # overlong
        ("subject", "%FF", "not percent-encoded UTF-8"),
        ("subject", "%ED%A0%80", "not percent-encoded UTF-8"),  # a surrogate
        ("subject", "\xff", "not percent-encoded UTF-8"),
    ],
)
def test_a_bad_header_is_refused_and_named(read: Read, attribute: str, value: str, message: str) -> None:
    with pytest.raises(MalformedEvent, match=message) as caught:
        read({**CORE, f"ce-{attribute}": value}, b"")
    assert attribute == caught.value.attribute


@pytest.mark.parametrize(
    ("sent", "read_as"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%e2%82%ac", "€"),
        ('"quoted"', "quoted"),
        (r'"a \"b\" \\c"', r'a "b" \c'),
        ('"Euro%20%E2%82%AC"', "Euro €"),
        ("%2520", "%20"),  # one round of decoding
        ("100%", "100%"),
        ('say "hi"', 'say "hi"'),
        ("plain text", "plain text"),
        ("€".encode().decode("latin-1"), "€"),  # not encoded by the sender, as WSGI hands it over
    ],
)
def test_header_values_are_unquoted_and_percent_decoded(read: Read, sent: str, read_as: str) -> None:
    assert read_as == read({**CORE, "ce-subject": sent}, b"").subject


def test_a_name_from_outside_may_be_long(read: Read) -> None:
    """Knative's KafkaSource sends such names; only producers are told to keep to 20 characters."""
    assert "7" == read({**CORE, "ce-kafkaheadercorrelationid": "7"}, b"").extensions["kafkaheadercorrelationid"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({}, b'{"text": "hi"}'),
        ({"content-type": "application/json"}, b'{"text": "hi"}'),
        ({"content-type": "application/json"}, json.dumps(WHOLE).encode()),
        ({"content-type": ""}, b""),
    ],
)
def test_what_is_no_cloudevent_is_told_how_to_be_one(read: Read, headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(MalformedEvent, match=r"ce-id, ce-source, ce-type and ce-specversion: 1\.0"):
        read(headers, body)


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        ("application/octet-stream", b"text that is UTF-8", b"text that is UTF-8"),
        ("application/json", b'"text"', "text"),
        ("application/vnd.api+json; charset=utf-8", b"[1]", [1]),
        ("Application/JSON", b"[1]", [1]),
        ("TEXT/plain", b"text", "text"),
        ("text/plain; charset=latin-1", b"\xe4", "ä"),
        ("application/json", b"", None),
        ("image/png", b"\x89PNG", b"\x89PNG"),
    ],
)
def test_the_content_type_decides_what_data_is(read: Read, content_type: str, body: bytes, data: object) -> None:
    assert data == read({**CORE, "content-type": content_type}, body).data


def test_a_content_type_with_quotes_stays_as_it_is(read: Read) -> None:
    event = read({**CORE, "ce-subject": "%41", "content-type": 'text/plain; charset="utf-8"'}, b"x")
    assert ('text/plain; charset="utf-8"', "A") == (event.datacontenttype, event.subject)


def test_stray_ce_headers_on_a_structured_body_are_ignored(read: Read) -> None:
    event = read({**STRUCTURED, "ce-id": "other", "ce-foo": "x"}, json.dumps(WHOLE).encode())
    assert "1" == event.id
    assert {} == event.extensions


@pytest.mark.parametrize(
    ("headers", "body", "message"),
    [
        (STRUCTURED, b"{", "not a CloudEvent in JSON format: not JSON"),
        (STRUCTURED, b"", "not a CloudEvent in JSON format: not JSON"),
        (STRUCTURED, b"[]", "a CloudEvent is a JSON object, not an array"),
        (STRUCTURED, b'"x"', "a CloudEvent is a JSON object, not 'x'"),
        ({"content-type": "application/cloudevents+xml"}, b"<event/>", re.escape("'application/cloudevents+xml'")),
        (BATCH, b"[]", "a batch where one event is expected"),
    ],
)
def test_a_body_that_is_no_event_is_refused(read: Read, headers: dict[str, str], body: bytes, message: str) -> None:
    with pytest.raises(MalformedEvent, match=message):
        read(headers, body)


def test_batch_mode() -> None:
    events = [Event.of({"n": n}, id=str(n)) for n in range(3)]
    assert events == read_batch(BATCH, write_batch(events))
    assert [] == read_batch(BATCH, b"[]")


def test_a_malformed_item_of_a_batch_is_named() -> None:
    body = json.dumps([WHOLE, {**WHOLE, "id": None}]).encode()
    with pytest.raises(MalformedEvent, match="item 1: attribute 'id' is missing") as caught:
        read_batch(BATCH, body)
    assert "id" == caught.value.attribute
    good, bad = read_batch_items(BATCH, body)
    assert isinstance(good, Event)
    assert isinstance(bad, MalformedEvent)


@pytest.mark.parametrize(
    ("headers", "body", "message"),
    [
        (BATCH, b"{}", "a batch is a JSON array of events, not an object"),
        (BATCH, b"[", "not JSON"),
        (STRUCTURED, b"[]", "a batch has the content type application/cloudevents-batch"),
        ({}, b"[]", "a batch has the content type application/cloudevents-batch"),
        ({"content-type": "application/cloudevents-batch+avro"}, b"", "'application/cloudevents-batch"),
    ],
)
def test_what_is_no_batch_is_refused(headers: dict[str, str], body: bytes, message: str) -> None:
    with pytest.raises(MalformedEvent, match=message):
        read_batch(headers, body)


@pytest.mark.parametrize(
    ("data", "body"),
    [
        ([1, {"a": None}], b'[1,{"a":null}]'),
        (True, b"true"),
        ("text", b'"text"'),
        (3, b"3"),
        ({"a": 1}, b'{"a":1}'),
        (b"\x00", b"\x00"),
        (None, b""),
    ],
)
def test_json_data_of_every_kind_is_written_as_json(data: object, body: bytes) -> None:
    headers, written = write_binary(Event.of(data, datacontenttype="application/json"))
    assert body == written
    assert ("content-type", "application/json") in headers


@pytest.mark.parametrize(
    ("value", "header"),
    [
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (b"\x01\x02", "AQI="),
        ("a b", "a%20b"),
        ('100% "€"', "100%25%20%22%E2%82%AC%22"),
        ("/a?b=c&d#e", "/a?b=c&d#e"),
    ],
)
def test_attributes_are_written_in_their_canonical_form(value: object, header: str) -> None:
    headers, _ = write_binary(Event.of(None, myextension=value))
    assert header == dict(headers)["ce-myextension"]


def test_binary_mode_writes_plain_headers() -> None:
    event = Event({"id": "1", "source": "/s", "type": "t", "subject": "a"}, {"a": 1})
    headers, body = write_binary(event)
    assert [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("ce-subject", "a"),
        ("content-type", "application/json"),
    ] == headers
    assert b'{"a":1}' == body


def test_structured_mode() -> None:
    event = Event.of({"a": [1, None]}, id="1", flag=True, count=3, blob=b"\x01")
    written = json.loads(write_structured(event))
    assert {
        "specversion": "1.0",
        "id": "1",
        "source": "/upon",
        "type": "upon.event",
        "datacontenttype": "application/json",
        "flag": True,
        "count": 3,
        "blob": "AQ==",
        "data": {"a": [1, None]},
    } == written
