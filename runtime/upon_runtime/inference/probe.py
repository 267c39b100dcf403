"""Tries a model at load: it warms up, shows where its outputs keep the rows, and whether rows are left alone.

Some models answer differently with other neighbours in the batch (dynamic quantisation, outputs as long as the
longest item, statistics over the batch). They must run one item at a time, and the reason is kept.
Measuring how long a run of n rows takes belongs here too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from upon_runtime.inference.layout import InputLayout, Layout, output_axis
from upon_runtime.inference.padding import bucket_for, cut_back
from upon_runtime.inference.tensors import Array, Dim, Tensor

Run = Callable[[list[Array]], list[Array]]

_SIZES = (8, 1, 32, 64, 128, 224, 512)  # tried in turn for axes whose size the model leaves open


@dataclass(frozen=True, slots=True)
class Findings:
    """output_axes: of each output, None without a batch axis. serial_reason: why rows don't share runs.

    padding_reason: why declared padding is left out.
    """

    output_axes: tuple[int | None, ...]
    serial_reason: str | None
    padding_reason: str | None = None


def probe(layout: Layout, outputs: tuple[Tensor, ...], run: Run) -> Findings:
    """Run one row, another row, and both together, and compare."""
    tried = _first_that_runs(layout, run)
    if isinstance(tried, Exception):
        axes = tuple(output_axis(layout, each, tuple(1 for _ in each.shape)) for each in outputs)
        return Findings(axes, layout.serial_reason or f"it could not be tried with made-up inputs: {_text(tried)}")
    size, alone = tried
    axes = tuple(output_axis(layout, each, out.shape) for each, out in zip(outputs, alone, strict=True))
    reason = layout.serial_reason or _why_not_together(layout, outputs, axes, run, size, alone)
    return Findings(axes, reason, _why_not_padded(layout, outputs, axes, run, size))


def _first_that_runs(layout: Layout, run: Run) -> tuple[int, list[Array]] | Exception:
    failure: Exception | None = None
    open_axes = any(not isinstance(dim, int) for each in layout.inputs for dim in each.item)
    for size in _SIZES if open_axes else _SIZES[:1]:
        try:
            return size, run(_join(layout, [0], size))
        except Exception as error:  # it says only that this size does not suit
            failure = failure or error
    assert failure is not None
    return failure


def _why_not_together(
    layout: Layout, outputs: tuple[Tensor, ...], axes: tuple[int | None, ...], run: Run, size: int, alone: list[Array]
) -> str | None:
    for tensor, axis in zip(outputs, axes, strict=True):
        if axis is None:
            return f"output {tensor.name!r} has no batch axis"
    try:
        other = run(_join(layout, [1], size))
        together = run(_join(layout, [0, 1], size))
    except Exception as error:
        return f"two rows together failed: {_text(error)}"
    for index, (tensor, axis) in enumerate(zip(outputs, axes, strict=True)):
        assert axis is not None
        if together[index].ndim <= axis or together[index].shape[axis] != 2:
            return f"output {tensor.name!r} has shape {list(together[index].shape)} for two rows"
        for row, single in enumerate((alone[index], other[index])):
            if not agree(single, np.take(together[index], [row], axis)):
                return f"output {tensor.name!r} of a row changes with its neighbours in the batch"
    return None


def _why_not_padded(
    layout: Layout, outputs: tuple[Tensor, ...], axes: tuple[int | None, ...], run: Run, size: int
) -> str | None:
    """Compare one row at its own length with the same row padded."""
    if not any(each.pad is not None and not isinstance(each.padded_dim, int) for each in layout.inputs):
        return None
    full, short = _row(layout, 0, size), _row(layout, 0, size)
    lengths: dict[str, int] = {}
    for index, each in enumerate(layout.inputs):
        if each.pad is not None and not isinstance(each.padded_dim, int):
            axis = each.padded_axis
            bucket = full[index].shape[axis]
            length = max(1, bucket - 1 - bucket // 4)
            keep = (slice(None),) * axis
            short[index] = full[index][(*keep, slice(length))]
            full[index] = full[index].copy()
            full[index][(*keep, slice(length, None))] = each.pad.value
            if isinstance(each.padded_dim, str):
                lengths[each.padded_dim] = length
    try:
        expected, padded = run(short), run(full)
    except Exception as error:
        return f"a shorter item failed: {_text(error)}"
    for tensor, want, got in zip(outputs, expected, padded, strict=True):
        if not agree(want, cut_back(got, tensor.shape, lengths)):
            return f"output {tensor.name!r} changes with padding"
    return None


def _text(error: Exception) -> str:
    return " ".join(str(error).split())


def agree(alone: Array, together: Array) -> bool:
    """Equal within float tolerance; anything but floats exactly."""
    if alone.shape != together.shape:
        return False
    if alone.dtype.kind != "f":
        return bool(np.array_equal(alone, together))
    scale = float(np.max(np.abs(alone), initial=0.0, where=np.isfinite(alone))) or 1.0
    tolerance = 1e-2 if alone.dtype == np.float16 else 1e-3
    return bool(np.allclose(together, alone, rtol=tolerance, atol=tolerance * 0.1 * scale, equal_nan=True))


def _join(layout: Layout, kinds: list[int], size: int) -> list[Array]:
    rows = [_row(layout, kind, size) for kind in kinds]
    return [
        rows[0][index] if each.axis is None else np.concatenate([row[index] for row in rows], each.axis)
        for index, each in enumerate(layout.inputs)
    ]


def _row(layout: Layout, kind: int, size: int) -> list[Array]:
    return [_made_up(each, 0 if each.axis is None else kind, size) for each in layout.inputs]


def _made_up(each: InputLayout, kind: int, size: int) -> Array:
    shape = [_size_of(each, dim, axis, size) for axis, dim in enumerate(each.item)]
    if each.axis is not None:
        shape.insert(each.axis, 1)
    return _values(shape, each.dtype, kind)


def _size_of(each: InputLayout, dim: Dim, axis: int, size: int) -> int:
    if isinstance(dim, int):
        return dim
    if each.pad is not None and axis == each.pad.axis:
        return bucket_for(1, each.pad, dim) or size
    return size


def _values(shape: list[int], dtype: np.dtype[Any], kind: int) -> Array:
    """Row 0 is plain, row 1 other and of another scale. Whole numbers are 0 and 1: valid as ids, masks and bytes."""
    if dtype.kind == "f":
        values = np.asarray(np.random.default_rng(kind).standard_normal(shape))
        return np.asarray(values * (1 + 3 * kind), dtype)
    ones = np.ones(shape, np.int8)
    if kind:
        ones.reshape(-1)[1::2] = 0
    return ones.astype(str).astype(object) if dtype.kind == "O" else ones.astype(dtype)
