"""Turns requests into one session run and gives each its part of the outputs."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from upon import ModelError
from upon_runtime.inference.layout import Layout
from upon_runtime.inference.padding import cut_back
from upon_runtime.inference.request import Request
from upon_runtime.inference.tensors import Array, Tensor


class NotBatchable(ModelError):
    """Outputs of a shared run can't be told apart by row; the message is the reason."""


class Runs:
    """Runs batches of requests on a session. output_axes: the batch axis of each output, None where it has none."""

    def __init__(
        self,
        layout: Layout,
        outputs: tuple[Tensor, ...],
        output_axes: tuple[int | None, ...],
        run: Callable[[list[Array]], list[Array]],
        observe: Callable[[str, int, float], None] | None = None,
    ) -> None:
        self._model = layout.model
        self._input_axes = tuple(each.axis for each in layout.inputs)
        self._outputs = outputs
        self._axes: tuple[int | None, ...] = output_axes
        self._run = run
        self._observe = observe

    def infer(self, batch: list[Request]) -> None:
        """One session run for all of them. Raises ModelError, and NotBatchable if the rows can't be told apart."""
        if len(batch) == 1:
            rows, arrays = batch[0].rows, batch[0].arrays
        else:
            rows, arrays = sum(request.rows for request in batch), self._join(batch)
        started = time.perf_counter()
        try:
            outputs = self._run(arrays)
        except Exception as error:
            raise ModelError(f"model {self._model!r}: the run failed: {' '.join(str(error).split())}") from error
        if self._observe is not None:
            self._observe(self._model, rows, time.perf_counter() - started)
        self._check_rows(outputs, rows)
        offset = 0
        for request in batch:
            request.offset = offset
            offset += request.rows
            request.outputs = outputs

    def item(self, request: Request) -> dict[str, Array]:
        """The outputs of a request of one item, without the batch axis. Views that stay valid."""
        result: dict[str, Array] = {}
        offset = request.offset
        for tensor, axis, output in zip(self._outputs, self._axes, request.outputs or (), strict=True):
            if axis == 0:
                output = output[offset, ...]
            elif axis is not None:
                output = output[(slice(None),) * axis + (offset, ...)]
            if request.lengths:
                output = cut_back(output, _without(tensor.shape, axis), request.lengths)
            result[tensor.name] = output
        return result

    def rows(self, parts: list[Request]) -> dict[str, Array]:
        """The outputs of rows that ran as one or several requests, with the batch axis; of none, empty arrays."""
        if not parts:
            return {tensor.name: _none(tensor, axis) for tensor, axis in zip(self._outputs, self._axes, strict=True)}
        found = [self._part(part) for part in parts]
        if len(found) == 1:
            return dict(zip(self._names, found[0], strict=True))
        return {
            name: self._stack(name, [part[index] for part in found], self._axes[index])
            for index, name in enumerate(self._names)
        }

    @property
    def _names(self) -> list[str]:
        return [tensor.name for tensor in self._outputs]

    def _join(self, batch: list[Request]) -> list[Array]:
        return [
            batch[0].arrays[index]
            if axis is None
            else np.concatenate([request.arrays[index] for request in batch], axis)
            for index, axis in enumerate(self._input_axes)
        ]

    def _check_rows(self, outputs: list[Array], rows: int) -> None:
        for index, (axis, output) in enumerate(zip(self._axes, outputs, strict=True)):
            if axis is not None and output.ndim > axis and output.shape[axis] == rows:
                continue
            if rows > 1:
                shape, name = list(output.shape), self._outputs[index].name
                raise NotBatchable(f"output {name!r} has shape {shape} for {rows} rows")
            if axis is not None:  # could not be seen at load: such an output is handed over as it is
                self._axes = (*self._axes[:index], None, *self._axes[index + 1 :])

    def _part(self, request: Request) -> list[Array]:
        found = []
        for tensor, axis, output in zip(self._outputs, self._axes, request.outputs or (), strict=True):
            if axis is None:
                output = output[None]  # only ever one row: such models run serially
            elif output.shape[axis] != request.rows:
                output = output[(slice(None),) * axis + (slice(request.offset, request.offset + request.rows),)]
            if request.lengths:
                dims = (None, *tensor.shape) if axis is None else tensor.shape
                output = cut_back(output, dims, request.lengths)
            found.append(output)
        return found

    def _stack(self, name: str, parts: list[Array], axis: int | None) -> Array:
        try:
            return np.concatenate(parts, axis or 0)
        except ValueError:
            shapes = sorted({str(list(part.shape)) for part in parts})
            raise ModelError(
                f"model {self._model!r}: output {name!r} has another shape for each row ({', '.join(shapes)}): "
                "call the model once for each item"
            ) from None


def _none(tensor: Tensor, axis: int | None) -> Array:
    """No rows of an output; sizes that the model leaves open are 0."""
    shape = list(_without(tensor.shape, axis))
    shape.insert(axis or 0, 0)
    return np.empty([dim if isinstance(dim, int) else 0 for dim in shape], tensor.numpy)


def _without(shape: tuple[int | str | None, ...], axis: int | None) -> tuple[int | str | None, ...]:
    return shape if axis is None else shape[:axis] + shape[axis + 1 :]
