from __future__ import annotations

import enum
from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import numpy as np
import pydantic
import pytest

from upon import DataError
from upon._json import dumps, loads

NAN, INF = float("nan"), float("inf")


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Item:
    name: str
    score: float


class Review(pydantic.BaseModel):
    text: str
    at: date
    score: float = 0.5


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True, "ä"]}, '{"a":[1,2.5,null,true,"ä"]}'),
        ({1: "x", None: "y"}, '{"1":"x","null":"y"}'),
        (np.int64(7), "7"),
        (np.float32(0.5), "0.5"),
        (np.float16(0.5), "0.5"),
        (np.bool_(True), "true"),
        (np.array(3), "3"),
        (np.array([[1, 2], [3, 4]], dtype=np.int32), "[[1,2],[3,4]]"),
        (np.arange(6, dtype=np.float32).reshape(2, 3).T, "[[0.0,3.0],[1.0,4.0],[2.0,5.0]]"),
        (np.array(["a", "b"]), '["a","b"]'),
        (np.array(["a", None], dtype=object), '["a",null]'),
        ({"x": np.zeros(2)}, '{"x":[0.0,0.0]}'),
        (Item("a", 1.0), '{"name":"a","score":1.0}'),
        (Review(text="hi", at=date(2026, 1, 2)), '{"text":"hi","at":"2026-01-02","score":0.5}'),
        ([Colour.RED, UUID(int=1)], '["red","00000000-0000-0000-0000-000000000001"]'),
        (datetime(2026, 1, 2, tzinfo=UTC), '"2026-01-02T00:00:00+00:00"'),
        ({3, 1, 2}, "[1,2,3]"),
        ((1, "a"), '[1,"a"]'),
        (Pair(1, None), "[1,null]"),
    ],
    ids=repr,
)
def test_values_with_a_json_form(value: object, text: str) -> None:
    assert text == dumps(value).decode()


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        (NAN, ""),
        ({"a": [0, INF]}, "/a/1"),
        ({"a/b": {"c~d": -INF}}, "/a~1b/c~0d"),
        (np.float64(NAN), ""),
        (np.array([[1, NAN]]), "/0/1"),
        ({"logits": np.array([1, INF], dtype=np.float32)}, "/logits/1"),
        (Item("a", NAN), "/score"),
        (Review(text="a", at=date(2026, 1, 1), score=NAN), "/score"),
        ((None, {NAN}), "/1/0"),
        ([None, Pair(1, NAN)], "/1/1"),
    ],
    ids=repr,
)
def test_nan_is_an_error_that_says_where(value: object, pointer: str) -> None:
    with pytest.raises(DataError, match="has no JSON form") as caught:
        dumps(value)
    assert pointer == caught.value.pointers[0][0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "object <object object"),
        ({"a": b"bytes"}, "bytes b'bytes' has no JSON form"),
        (np.array([1j]), "complex"),
        ({1, "a"}, "not supported between"),
        (2**64, "64-bit"),
        ("\ud800", "surrogates"),
    ],
)
def test_a_value_without_a_json_form_is_named(value: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        dumps(value)


def test_a_null_that_is_meant_is_no_error() -> None:
    assert b'{"a":null,"b":"null"}' == dumps({"a": None, "b": "null"})


@pytest.mark.parametrize("text", [b"", b"{", b"NaN", b"[Infinity]", b"\xff", b'"\\ud800"', b"1 2", b"{'a': 1}"])
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(DataError, match="not JSON"):
        loads(text)


def test_deep_nesting_is_refused_and_does_not_crash() -> None:
    value: list[Any] = []
    for _ in range(2000):
        value = [value]
    with pytest.raises(DataError):
        dumps(value)
    with pytest.raises(DataError):
        loads(b"[" * 5000 + b"]" * 5000)
