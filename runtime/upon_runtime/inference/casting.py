"""Turns what a caller gave into an array of the model's dtype, without ever changing a value."""

from __future__ import annotations

from typing import Any

import numpy as np

from upon_runtime.inference.tensors import Array


class Misfit(Exception):
    """What is wrong with a value, as the second half of a sentence."""


def to_array(value: Any, dtype: np.dtype[Any]) -> Array:
    """Numbers, text and lists are cast if no value changes; arrays must have the dtype, or a smaller one of its kind.

    Floats may lose digits, as every float32 made from a Python number does, but never become infinite.
    Raises Misfit.
    """
    if isinstance(value, (bool, int, float, complex, str, list, tuple, np.generic)):
        return _from_python(value, dtype)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise Misfit(f"got {type(value).__name__}: make an array of it with np.frombuffer")
    array = np.asarray(value)
    if array.dtype.names is not None or (array.dtype.kind == "O" and dtype.kind != "O"):
        raise Misfit(f"got {type(value).__name__}, which is no array of numbers")
    return _from_array(array, dtype)


def _from_array(array: Array, dtype: np.dtype[Any]) -> Array:
    if array.dtype == dtype and dtype.kind != "O":
        return array
    if dtype.kind == "O":
        return _text(array)
    if array.dtype.kind == dtype.kind and np.can_cast(array.dtype, dtype, "safe"):
        return array.astype(dtype)
    raise Misfit(f"got an array of {array.dtype.name}: convert it with .astype(np.{dtype.name})")


def _from_python(value: Any, dtype: np.dtype[Any]) -> Array:
    try:
        array = np.asarray(value, object if dtype.kind == "O" else None)
    except ValueError:
        raise Misfit("got a ragged list: every row must have the same length") from None
    if dtype.kind == "O":
        return _text(array)
    if array.size == 0:
        return array.astype(dtype)
    if array.dtype.kind not in "biuf":
        raise Misfit(f"got {_odd_one(value)!r}, which is no number")
    with np.errstate(all="ignore"):
        cast = array.astype(dtype)
        changed = cast != array
        if dtype.kind == "f" and array.dtype.kind == "f":
            changed = np.isfinite(array) & ~np.isfinite(cast)
        elif array.dtype.kind == "f":
            changed |= np.abs(array) >= 2.0**53  # a big int beside a float was rounded already
    if changed.any():
        culprit = array[changed].ravel()[0].item() if array.ndim else array.item()
        raise Misfit(f"got {culprit!r}, which {dtype.name} can't hold")
    return cast


def _text(array: Array) -> Array:
    if array.dtype.kind == "U":
        return array.astype(object)
    odd = next((each for each in array.ravel() if not isinstance(each, str)), None)
    if array.size and (array.dtype.kind not in "OT" or odd is not None):
        raise Misfit(f"got {odd!r}, which is no text")
    return array.astype(object)


def _odd_one(value: Any) -> Any:
    """The first thing in nested lists that is no number."""
    while isinstance(value, (list, tuple)):
        value = next((each for each in value if not _is_number(each)), value[0])
    return value


def _is_number(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_number, value))
    return isinstance(value, (bool, int, float, np.number, np.bool_, np.ndarray))
