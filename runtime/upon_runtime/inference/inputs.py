"""Checks what a call gives against the model, and makes a request of it. Runs on every call: the good case is short."""

from __future__ import annotations

from collections.abc import Hashable
from difflib import get_close_matches
from typing import Any

import numpy as np

from upon import InputError
from upon._engine import invocation
from upon_runtime.inference.casting import Misfit, to_array
from upon_runtime.inference.layout import InputLayout, Layout
from upon_runtime.inference.padding import pad_to_bucket
from upon_runtime.inference.request import Request
from upon_runtime.inference.tensors import Array, Dim, shape_text

_TEXT = np.dtype(object)


class Inputs:
    """Makes requests out of the inputs of calls. pads: False where padding was found to change results."""

    def __init__(self, layout: Layout, *, pads: bool = True) -> None:
        self._model = layout.model
        self._layouts = layout.inputs
        self._each = [(each.name, each.axis, each) for each in layout.inputs]
        self._names = dict.fromkeys(each.name for each in layout.inputs).keys()
        self._keyed = any(each.axis is None or _free(each.item) for each in layout.inputs)
        self._one_by_one = layout.batch_axis is None
        self._pads = pads and any(each.pad is not None for each in layout.inputs)

    def item(self, given: dict[str, Any]) -> Request:
        """One item, its inputs without the batch axis. Raises InputError."""
        if given.keys() != self._names:
            raise self._wrong_names(given)
        arrays: list[Array] = []
        for name, axis, layout in self._each:
            array = self._fit(layout, given[name], layout.takes_item)
            if axis == 0:
                array = array[None]
            elif axis is not None:
                array = np.expand_dims(array, axis)
            arrays.append(array)
        return self._request(arrays, 1)

    def rows(self, given: dict[str, Any]) -> Request:
        """Rows of items, perhaps none, the inputs with the batch axis. Raises InputError."""
        if self._one_by_one:
            raise InputError(f"model {self._model!r} has no batch axis (batch_axis=None): call it once for each item")
        if given.keys() != self._names:
            raise self._wrong_names(given)
        arrays: list[Array] = []
        counts: dict[str, int] = {}
        for name, axis, layout in self._each:
            array = self._fit(layout, given[name], layout.takes_rows)
            if axis is not None:
                counts[name] = array.shape[axis]
            arrays.append(array)
        return self._request(arrays, self._rows(counts))

    def part(self, whole: Request, start: int, stop: int) -> Request:
        """The rows from start to stop of a request that is too large for one run."""
        arrays = [
            array if layout.axis is None else array[(slice(None),) * layout.axis + (slice(start, stop),)]
            for layout, array in zip(self._layouts, whole.arrays, strict=True)
        ]
        return Request(arrays, stop - start, whole.key, whole.deadline, whole.lengths)

    def _wrong_names(self, given: dict[str, Any]) -> InputError:
        names = [layout.name for layout in self._layouts]
        has = f"it takes {', '.join(map(repr, names))}"
        for name in given:
            if name not in names:
                close = get_close_matches(str(name), names, 1)
                hint = f"did you mean {close[0]!r}?" if close else has
                return InputError(f"model {self._model!r} has no input {name!r}: {hint}")
        missing = ", ".join(repr(name) for name in names if name not in given)
        return InputError(f"model {self._model!r}: input {missing} is missing: {has}")

    def _fit(self, layout: InputLayout, value: Any, expected: tuple[Dim, ...]) -> Array:
        if not (isinstance(value, np.ndarray) and value.dtype == layout.dtype != _TEXT):
            try:
                value = to_array(value, layout.dtype)
            except Misfit as misfit:
                raise self._misfit(layout, expected, str(misfit)) from None
        if value.shape != expected and not _allowed(expected, value.shape):
            raise self._misfit(layout, expected, f"got shape {shape_text(value.shape)}")
        return value  # type: ignore[no-any-return]

    def _misfit(self, layout: InputLayout, expected: tuple[Dim, ...], what: str) -> InputError:
        form = "one item" if expected is layout.takes_item else "rows"
        return InputError(
            f"model {self._model!r}: input {layout.name!r} takes {layout.tensor.dtype} of shape "
            f"{shape_text(expected)} ({form}), {what}"
        )

    def _rows(self, counts: dict[str, int]) -> int:
        sizes = set(counts.values())
        if len(sizes) > 1:
            given = ", ".join(f"{name!r} has {count}" for name, count in counts.items())
            raise InputError(f"model {self._model!r}: all inputs must have the same number of rows: {given}")
        return sizes.pop()

    def _request(self, arrays: list[Array], rows: int) -> Request:
        call = invocation.get()
        lengths = self._pad(arrays) if self._pads else None
        key = self._key(arrays) if self._keyed else ()
        return Request(arrays, rows, key, None if call is None else call.deadline, lengths)

    def _pad(self, arrays: list[Array]) -> dict[str, int]:
        lengths: dict[str, int] = {}
        for index, layout in enumerate(self._layouts):
            if layout.pad is None:
                continue
            length, dim = arrays[index].shape[layout.padded_axis], layout.padded_dim
            if isinstance(dim, str) and lengths.setdefault(dim, length) != length:
                raise InputError(
                    f"model {self._model!r}: input {layout.name!r} has length {length} on the axis {dim!r} and "
                    f"another input has {lengths[dim]}: they must be equal"
                )
            arrays[index] = pad_to_bucket(self._model, layout, arrays[index], layout.padded_axis)
        return lengths

    def _key(self, arrays: list[Array]) -> Hashable:
        """Equal for requests that may share a run: the shapes without the batch axis, and the shared inputs' values."""
        parts: list[Hashable] = []
        for layout, array in zip(self._layouts, arrays, strict=True):
            if layout.axis is None:
                parts.append((array.shape, array.tobytes() if layout.dtype != _TEXT else tuple(array.ravel())))
            else:
                parts.append(array.shape[: layout.axis] + array.shape[layout.axis + 1 :])
        return tuple(parts)


def _allowed(expected: tuple[Dim, ...], shape: tuple[int, ...]) -> bool:
    if len(shape) != len(expected):
        return False
    return all(want == size or not isinstance(want, int) for want, size in zip(expected, shape, strict=True))


def _free(shape: tuple[Dim, ...]) -> bool:
    return not all(isinstance(dim, int) for dim in shape)
