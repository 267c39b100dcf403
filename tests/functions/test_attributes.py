from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from upon import MalformedEvent, _attributes
from upon._attributes import attribute_text, check_time, is_text, parse_time, read_attribute, read_attributes

CORE = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
names = st.sampled_from(["id", "specversion", "subject", "time", "datacontenttype", "key", "other", "x-y", "data", ""])
values: st.SearchStrategy[Any] = st.one_of(
    st.text(max_size=4),
    st.sampled_from(
        ["1.0", "2026-11-22T10:11:12Z", "2026-02-30T10:11:12Z", "2026-11-22", "ä/ö", "a/b", True, 1, 2**31]
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(names, values, max_size=4))
@example({"time": "2026-02-29T10:11:12Z"})
@example({"time": "0999-01-01T00:00:00Z"})
def test_the_fast_way_and_the_slow_way_agree(more: dict[str, Any]) -> None:
    given = {**CORE, **more}
    try:
        expected: object = {name: read_attribute(name, value) for name, value in given.items()}
    except MalformedEvent as error:
        expected = error.attribute
    try:
        seen: object = read_attributes(given, "{}")
    except MalformedEvent as error:
        seen = error.attribute
    assert expected == seen


def test_the_names_it_remembers_are_bounded() -> None:
    for number in range(2000):
        read_attributes({**CORE, f"extension{number}": "x"}, "{}")
    assert len(_attributes._known_names) <= 256


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02t03:04:05.1z", datetime(2026, 1, 2, 3, 4, 5, 100000, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789+01:00", datetime(2026, 1, 2, 2, 4, 5, 123456, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_times(text: str, time: datetime) -> None:
    assert text == check_time(text)
    assert time == parse_time(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-02",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04Z",
        "2026-13-02T03:04:05Z",
        "2026-02-30T03:04:05Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:04:05+0100",
        "2026-01-02T03:04:05Z\n",
        "٢٠٢٦-01-02T03:04:05Z",
        "20260102T030405Z",
        "0000-01-01T00:00:00Z",
        1700000000,
        None,
    ],
)
def test_what_is_no_time(text: object) -> None:
    with pytest.raises(MalformedEvent, match="RFC 3339") as caught:
        check_time(text)
    assert "time" == caught.value.attribute


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (True, "true"), (False, "false"), (-7, "-7"), (b"\x00\xff", "AP8=")]
)
def test_canonical_text(value: object, text: str) -> None:
    assert text == attribute_text(value)


@pytest.mark.parametrize(
    ("text", "allowed"), [("a b", True), ("ä\u00a0😀", True), ("\t", False), ("a\x85", False), ("\ufffe", False)]
)
def test_characters(text: str, allowed: bool) -> None:
    assert allowed == is_text(text)
