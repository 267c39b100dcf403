"""Typed payloads: strict, nested, and every fault as a JSON pointer."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NotRequired, Optional, TypedDict
from uuid import UUID

import pydantic
import pytest

from upon import DataError, Event, UsageError
from upon_runtime.payload import reader


class Colour(Enum):
    RED = "red"


class Inner(TypedDict):
    n: int


class Order(TypedDict):
    id: str
    inner: Inner
    many: NotRequired[list[Inner]]
    at: Optional[datetime]  # noqa: UP045 - the old spelling has to work too


@dataclass
class Point:
    x: float
    colour: Colour = Colour.RED


class Account(pydantic.BaseModel):
    id: UUID
    points: list[Point]


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ORDER = {"id": "1", "inner": {"n": 1}, "at": "2026-01-02T03:04:05Z"}


@pytest.mark.parametrize(
    ("wanted", "data", "expected"),
    [
        (Any, {"a": 1}, {"a": 1}),
        (dict, {"a": 1}, {"a": 1}),
        (str, "text", "text"),
        (bytes, {"a": 1}, b'{"a":1}'),
        (int, 3, 3),
        (float, 3, 3.0),
        (int | None, None, None),
        (list[int], [1, 2], [1, 2]),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (typing.Literal["a", "b"], "b", "b"),
        (Colour, "red", Colour.RED),
        (datetime, "2026-01-02T03:04:05Z", NOW),
        (Point, {"x": 1.5}, Point(1.5)),
        (Point, {"x": 1.5, "colour": "red"}, Point(1.5, Colour.RED)),
        (Order, ORDER, {**ORDER, "at": NOW}),
        (Order, {**ORDER, "many": [{"n": 2}], "at": None}, {**ORDER, "many": [{"n": 2}], "at": None}),
        (list[Order | None], [ORDER, None], [{**ORDER, "at": NOW}, None]),
        (Account, {"id": str(UUID(int=1)), "points": [{"x": 1}]}, Account(id=UUID(int=1), points=[Point(1.0)])),
    ],
)
def test_data_as_its_type(wanted: Any, data: object, expected: object) -> None:
    assert expected == reader(wanted)(Event.of(data))


@pytest.mark.parametrize(
    ("wanted", "data", "pointers"),
    [
        (dict, [1], {""}),
        (str, 1, {""}),
        (int, "1", {""}),
        (int, True, {""}),
        (int, 1.5, {""}),
        (float, "1.5", {""}),
        (bool, 1, {""}),
        (Colour, "blue", {""}),
        (datetime, 5, {""}),
        (Point, {"x": "1", "colour": "blue"}, {"/x", "/colour"}),
        (Order, {"id": 1, "inner": {}}, {"/id", "/inner/n", "/at"}),
        (list[Inner], [{"n": 1}, {"n": "x"}], {"/1/n"}),
        (dict[str, int], {"a/b~c": "x"}, {"/a~1b~0c"}),
        (Account, {"id": "no", "points": [{}]}, {"/id", "/points/0/x"}),
        (int, None, {""}),
    ],
)
def test_what_does_not_fit_is_listed_by_pointer(wanted: Any, data: object, pointers: set[str]) -> None:
    with pytest.raises(DataError) as caught:
        reader(wanted)(Event.of(data))
    assert pointers == {pointer for pointer, _ in caught.value.pointers}


@pytest.mark.parametrize("body", [b"{", b"", b'{"x": NaN}', b'{"x": Infinity}', b'{"x": 1}}', b"\xff"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    event = Event.of(body, datacontenttype="application/json")
    with pytest.raises(DataError, match="not JSON"):
        reader(Point)(event)


def test_text_and_bytes_are_validated_by_what_they_decode_to() -> None:
    text = Event.of("hello", datacontenttype="text/plain")
    assert "hello" == reader(str)(text)
    assert "hello" == reader(str | None)(text)
    with pytest.raises(DataError, match="valid integer"):
        reader(int)(text)


def test_no_data_where_data_is_needed() -> None:
    with pytest.raises(DataError) as caught:
        reader(Point)(Event.of())
    assert [""] == [pointer for pointer, _ in caught.value.pointers]


def test_many_faults_are_cut() -> None:
    with pytest.raises(DataError, match=r"and 97 more") as caught:
        reader(list[int])(Event.of(["x"] * 100))
    assert 20 == len(caught.value.pointers)


def test_a_type_that_can_not_be_validated_is_a_usage_error() -> None:
    class Odd:
        pass

    with pytest.raises(UsageError, match="can't be validated as"):
        reader(Odd)


@pytest.mark.parametrize("wanted", [Point, dict, str, int | None])
def test_bytes_where_json_was_meant_are_told_by_their_content_type(wanted: Any) -> None:
    form = Event.of(b'{"x": 1}', datacontenttype="application/x-www-form-urlencoded")  # what `curl -d` sends
    with pytest.raises(DataError, match="'application/x-www-form-urlencoded' is taken as bytes: send it with the"):
        reader(wanted)(form)


def test_bytes_where_bytes_are_wanted_too() -> None:
    assert b"x" == reader(bytes | None)(Event.of(b"x", datacontenttype="image/png"))
