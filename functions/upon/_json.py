"""JSON in one place: strict, fast, numpy-aware, and never a silent null for NaN."""

from __future__ import annotations

import math
from typing import Any

import orjson

from upon._errors import DataError

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def loads(body: bytes | str) -> Any:
    """Parse JSON (UTF-8). Raises DataError; NaN and Infinity are not JSON.

    Integers beyond 64 bits become floats: send those as strings.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise DataError(f"not JSON: {error}") from None


def dumps(value: object) -> bytes:
    """Encode as UTF-8 JSON. numpy scalars and arrays, dataclasses, datetime, Enum and UUID are known.

    Raises DataError for anything else, and for NaN or Infinity, which JSON does not have.
    """
    try:
        body = orjson.dumps(value, default=_plain, option=_OPTIONS)
    except (orjson.JSONEncodeError, TypeError) as error:
        cause = error.__cause__ or error
        raise DataError(f"can't be written as JSON: {cause}") from None
    # orjson writes NaN as null: only a text with a null in it can hide one.
    if b"null" in body:
        _refuse_nan(value, "")
    return body


def rewrite(parsed: object) -> bytes:
    """Encode what `loads` returned: nothing to convert, and no NaN to look for. Raises DataError."""
    try:
        return orjson.dumps(parsed)
    except orjson.JSONEncodeError as error:  # nested deeper than it writes
        raise DataError(f"can't be written as JSON: {error}") from None


def _plain(value: Any) -> object:
    if hasattr(value, "model_dump"):  # pydantic
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):  # a numpy array that orjson can't read in place, or a numpy scalar
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, tuple):  # a named one
        return list(value)
    raise TypeError(f"{type(value).__name__} {value!r:.80} has no JSON form")


def _refuse_nan(value: Any, pointer: str) -> None:
    if hasattr(value, "tolist"):
        value = value.tolist()
    elif hasattr(value, "model_dump"):
        value = value.model_dump()
    elif hasattr(value, "__dataclass_fields__"):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, float):
        if not math.isfinite(value):
            raise DataError(
                f"{value!r} at {pointer or 'the top'} has no JSON form: replace it, with None for instance",
                ((pointer, f"{value!r} has no JSON form"),),
            )
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_nan(item, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, item in enumerate(value):
            _refuse_nan(item, f"{pointer}/{index}")
