"""Which axis of each input grows with the batch, which may be padded, and what the declaration got wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from upon import Model, ModelError, Pad
from upon_runtime.inference.tensors import Dim, Tensor, shape_text


@dataclass(frozen=True, slots=True)
class InputLayout:
    """One input. axis: its batch axis, or None: the input is the same for all rows of a run.

    item: shape of one item. takes_item, takes_rows: shapes that callers may give, a padded axis being free.
    pad: how `item` may be padded.
    """

    tensor: Tensor
    dtype: np.dtype[Any]
    axis: int | None
    item: tuple[Dim, ...]
    takes_item: tuple[Dim, ...]
    takes_rows: tuple[Dim, ...]
    pad: Pad | None

    @property
    def name(self) -> str:
        return self.tensor.name

    @property
    def padded_axis(self) -> int:
        """The padded axis of the whole tensor, -1 for none."""
        if self.pad is None:
            return -1
        return self.pad.axis + (self.axis is not None and self.axis <= self.pad.axis)

    @property
    def padded_dim(self) -> Dim:
        """The padded axis as the model names it."""
        return None if self.pad is None else self.item[self.pad.axis]


@dataclass(frozen=True, slots=True)
class Layout:
    """All inputs of a model. serial_reason: why rows can't share a run, as far as the shapes tell."""

    model: str
    inputs: tuple[InputLayout, ...]
    batch_axis: int | None
    batch_dims: frozenset[str]
    serial_reason: str | None


def lay_out(model: Model, inputs: tuple[Tensor, ...]) -> Layout:
    """Work out the batch axes. Raises ModelError for an axis that is not there or fixed, and for a wrong Pad."""
    dims = frozenset(_batch_dims(model.batch_axis, inputs))
    axes = [_axis(model, tensor, dims) for tensor in inputs]
    if model.batch_axis is not None and all(axis is None for axis in axes):
        raise ModelError(f"model {model.name!r}: no input has a batch axis: declare batch_axis=None")
    layouts = tuple(_layout(model, tensor, axis) for tensor, axis in zip(inputs, axes, strict=True))
    _check_pads(model, layouts)
    return Layout(model.name, layouts, model.batch_axis, dims, _serial_reason(model, layouts))


def output_axis(layout: Layout, output: Tensor, size: tuple[int, ...]) -> int | None:
    """The batch axis of an output whose shape was `size` for one row; None where it has none."""
    axis = layout.batch_axis
    named = [i for i, dim in enumerate(output.shape) if dim in layout.batch_dims]
    if len(named) == 1:
        axis = named[0]
    return axis if axis is not None and axis < len(size) and size[axis] == 1 else None


def _batch_dims(batch_axis: int | None, inputs: tuple[Tensor, ...]) -> set[str]:
    if batch_axis is None:
        return set()
    return {t.shape[batch_axis] for t in inputs if len(t.shape) > batch_axis and isinstance(t.shape[batch_axis], str)}  # type: ignore[misc]


def _axis(model: Model, tensor: Tensor, batch_dims: frozenset[str]) -> int | None:
    axis, shape = model.batch_axis, tensor.shape
    if axis is None or not shape:
        return None
    if axis < len(shape) and not isinstance(shape[axis], int):
        return axis
    elsewhere = [i for i, dim in enumerate(shape) if dim in batch_dims]
    if len(elsewhere) == 1:  # a recurrent state, for instance: [layers, N, hidden]
        return elsewhere[0]
    if axis >= len(shape):
        raise ModelError(
            f"model {model.name!r}: batch_axis={axis} does not exist in input {tensor.name!r} of shape "
            f"{shape_text(shape)}: name an axis it has, or batch_axis=None"
        )
    if shape[axis] == 1:
        return axis
    free = [i for i, dim in enumerate(shape) if not isinstance(dim, int)]
    if len(free) == 1:
        return free[0]
    raise ModelError(
        f"model {model.name!r}: axis {axis} of input {tensor.name!r} of shape {shape_text(shape)} is fixed at "
        f"{shape[axis]} and can't be the batch axis: export it with a dynamic axis, or declare batch_axis=None"
    )


def _layout(model: Model, tensor: Tensor, axis: int | None) -> InputLayout:
    item, pad = tensor.shape, model.pad.get(tensor.name)
    if axis is not None:
        item = item[:axis] + item[axis + 1 :]
    takes = list(item)
    if pad is not None and pad.axis < len(item) and isinstance(item[pad.axis], int):
        takes[pad.axis] = None
    rows = list(takes)
    if axis is not None:
        dim = tensor.shape[axis]
        rows.insert(axis, None if isinstance(dim, int) else dim)
    return InputLayout(tensor, tensor.numpy, axis, item, tuple(takes), tuple(rows), pad)


def _serial_reason(model: Model, inputs: tuple[InputLayout, ...]) -> str | None:
    if model.batch_axis is None:
        return "it is declared with batch_axis=None"
    for each in inputs:
        if each.axis is not None and each.tensor.shape[each.axis] == 1:
            return f"input {each.name!r} has a fixed batch of 1: shape {shape_text(each.tensor.shape)}"
    return None


def _check_pads(model: Model, inputs: tuple[InputLayout, ...]) -> None:
    names = [each.name for each in inputs]
    for name in model.pad:
        if name not in names:
            raise ModelError(f"model {model.name!r}: pad names the unknown input {name!r}: it has {_listed(names)}")
    padded = {each.name: each for each in inputs if each.pad is not None}
    for each in padded.values():
        _check_pad(model.name, each, each.pad)
    dims: Mapping[Dim, str] = {each.padded_dim: each.name for each in padded.values() if each.padded_dim is not None}
    for each in inputs:
        shared = next((dim for dim in each.item if isinstance(dim, str) and dim in dims), None)
        if shared is not None and each.pad is None:
            raise ModelError(
                f"model {model.name!r}: input {each.name!r} shares the axis {shared!r} with {dims[shared]!r}, which "
                "is padded: declare a Pad for it too"
            )


def _check_pad(model: str, each: InputLayout, pad: Pad | None) -> None:
    assert pad is not None
    if pad.axis >= len(each.item):
        raise ModelError(
            f"model {model!r}: Pad(axis={pad.axis}) of input {each.name!r} does not exist in an item of shape "
            f"{shape_text(each.item)} (items have no batch axis)"
        )
    dim = each.item[pad.axis]
    if isinstance(dim, int) and pad.buckets not in ((), (dim,)):
        raise ModelError(
            f"model {model!r}: axis {pad.axis} of input {each.name!r} is fixed at {dim}, so {dim} is its only "
            f"bucket, not {list(pad.buckets)}"
        )
    if each.dtype.kind == "O":
        raise ModelError(f"model {model!r}: input {each.name!r} holds text and can't be padded")


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names))
