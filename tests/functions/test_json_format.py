from __future__ import annotations

import json
from typing import Any

import pytest

from upon import DataError, Event, MalformedEvent
from upon._json_format import from_dict, read_items, read_structured, to_dict, write_structured

WHOLE: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "com.example.created"}


def read(**members: Any) -> Event[Any]:
    return read_structured(json.dumps({**WHOLE, **members}).encode())


@pytest.mark.parametrize("data", [{"a": 1}, [1, None, "x"], "text", 1.5, True, 0, "", [], {}])
def test_json_data_stays_json_whatever_it_is(data: object) -> None:
    event = read(data=data)
    assert data == event.data
    assert data == json.loads(event.body)


def test_without_a_content_type_data_is_json_and_says_so() -> None:
    assert "application/json" == read(data="text").datacontenttype
    assert b'"text"' == read(data="text").body
    assert read().datacontenttype is None


@pytest.mark.parametrize(
    ("members", "body", "data"),
    [
        ({"datacontenttype": "text/plain", "data": "hi"}, b"hi", "hi"),
        ({"datacontenttype": "text/plain; charset=latin-1", "data": "ä"}, b"\xe4", "ä"),
        ({"datacontenttype": "application/xml", "data": "<a/>"}, b"<a/>", b"<a/>"),
        ({"datacontenttype": "application/octet-stream", "data_base64": "AAE="}, b"\x00\x01", b"\x00\x01"),
        ({"datacontenttype": "application/json", "data_base64": "WzFd"}, b"[1]", [1]),
        ({"data_base64": "WzFd"}, b"[1]", [1]),
        ({"data": None}, b"", None),
        ({"data": None, "data_base64": None}, b"", None),
        ({"data_base64": ""}, b"", None),
    ],
)
def test_data_of_every_form(members: dict[str, Any], body: bytes, data: object) -> None:
    event = read(**members)
    assert body == event.body
    if "data_base64" not in members or members["data_base64"]:
        assert data == event.data


@pytest.mark.parametrize(
    ("members", "attribute", "message"),
    [
        ({"data": 1, "data_base64": "AA=="}, "data_base64", "either data or data_base64"),
        ({"data_base64": "A"}, "data_base64", "data_base64 is not base64"),
        ({"data_base64": "AA==\n"}, "data_base64", "data_base64 is not base64"),
        ({"data_base64": "ä"}, "data_base64", "data_base64 is not base64"),
        ({"data_base64": 1}, "data_base64", "data_base64 must be a string, not 1"),
        ({"datacontenttype": "text/plain", "data": {"a": 1}}, "data", "must be a JSON string, not an object"),
        ({"datacontenttype": "application/xml", "data": 1}, "data", "must be a JSON string, not 1"),
        ({"datacontenttype": "text/plain; charset=ascii", "data": "ä"}, "data", "charset 'ascii'"),
        ({"datacontenttype": "text/plain; charset=klingon", "data": "a"}, "data", "charset 'klingon'"),
        ({"specversion": 1.0}, "specversion", "'specversion' must be a non-empty string, not 1.0"),
        ({"id": 7}, "id", "'id' must be a non-empty string, not 7"),
        ({"subject": ""}, "subject", "'subject' must be a non-empty string"),
        ({"time": 1700000000}, "time", "'time' must be an RFC 3339 timestamp"),
        ({"myfloat": 1.5}, "myfloat", "must be a string, integer, boolean or bytes, not 1.5"),
        ({"myobject": {}}, "myobject", "must be a string, integer, boolean or bytes"),
        ({"mynumber": 2**31}, "mynumber", "must fit 32 bits"),
        ({"MyName": "x"}, "MyName", "must be lower-case letters and digits"),
        ({"datacontenttype": "text/ä"}, "datacontenttype", "media type in ASCII"),
    ],
)
def test_a_bad_member_is_refused_and_named(members: dict[str, Any], attribute: str, message: str) -> None:
    with pytest.raises(MalformedEvent, match=message) as caught:
        read(**members)
    assert attribute == caught.value.attribute


def test_extensions_keep_their_types() -> None:
    extensions = read(flag=True, number=-(2**31), text="x", nothing=None).extensions
    assert {"flag": True, "number": -(2**31), "text": "x"} == extensions
    assert extensions["flag"] is True


def test_null_attributes_count_as_absent() -> None:
    event = read(subject=None, time=None, datacontenttype=None, data=1)
    assert (None, None, "application/json") == (event.subject, event.time, event.datacontenttype)


@pytest.mark.parametrize(
    "text",
    [
        '{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"t"}',
        '{"specversion":"1.0","id":"1","source":"/s","type":"t","id":"1"}',
        '{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"id":1},"id":"2"}',
        '{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data":2}',
    ],
)
def test_a_member_given_twice_is_refused(text: str) -> None:
    with pytest.raises(MalformedEvent, match="is given twice"):
        read_structured(text.encode())
    with pytest.raises(MalformedEvent, match="is given twice"):
        read_items(f"[{text}]".encode())


def test_names_repeated_inside_data_are_no_duplicates() -> None:
    data = {"id": 1, "items": [{"id": 2, "type": "id"}, {"id": 3}]}
    assert data == read(data=data, subject="id").data
    assert 2 == len(read_items(json.dumps([{**WHOLE, "data": data}] * 2).encode()))


def test_deep_nesting_is_refused_and_does_not_crash() -> None:
    for depth in (300, 5000):
        with pytest.raises(MalformedEvent):
            read_structured(json.dumps(WHOLE)[:-1].encode() + b',"data":' + b"[" * depth + b"]" * depth + b"}")


@pytest.mark.parametrize(
    ("event", "members"),
    [
        (Event.of({"a": 1}, id="1"), {"datacontenttype": "application/json", "data": {"a": 1}}),
        (Event.of("hi", id="1", datacontenttype="text/plain"), {"datacontenttype": "text/plain", "data": "hi"}),
        (Event.of(b"\x00", id="1"), {"datacontenttype": "application/octet-stream", "data_base64": "AA=="}),
        (Event.of(None, id="1"), {}),
        (
            Event.of(b"{", id="1", datacontenttype="application/json"),
            {"datacontenttype": "application/json", "data_base64": "ew=="},
        ),
        (
            Event.of(b"\xff", id="1", datacontenttype="text/plain"),
            {"datacontenttype": "text/plain", "data_base64": "/w=="},
        ),
    ],
)
def test_to_dict_and_back(event: Event[Any], members: dict[str, Any]) -> None:
    expected = {"specversion": "1.0", "id": "1", "source": "/upon", "type": "upon.event", **members}
    assert expected == to_dict(event)
    assert expected == json.loads(write_structured(event))
    assert event == from_dict(to_dict(event))
    assert event == read_structured(write_structured(event))


def test_written_json_data_stays_the_text_it_is() -> None:
    event = Event.of(b'{"n": 123456789012345678901234567890, "f": 1.10}', datacontenttype="application/json")
    assert b'"data":{"n": 123456789012345678901234567890, "f": 1.10}' in write_structured(event)


def test_from_dict_leaves_the_callers_dict_alone() -> None:
    given = {**WHOLE, "data": {"a": 1}, "subject": None}
    before = dict(given)
    from_dict(given)
    assert before == given


def test_from_dict_refuses_nan() -> None:
    with pytest.raises(MalformedEvent, match="nan at /a has no JSON form"):
        from_dict({**WHOLE, "data": {"a": float("nan")}})


def test_broken_json_data_shows_when_it_is_read() -> None:
    event = Event.of(b"{", datacontenttype="application/json")
    with pytest.raises(DataError, match="not JSON"):
        _ = event.data
