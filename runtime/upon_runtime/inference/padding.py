"""Pads items of varying length to declared sizes, so that they can share a run, and cuts the outputs back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from upon import InputError, Pad
from upon_runtime.inference.layout import InputLayout
from upon_runtime.inference.tensors import Array, Dim


def bucket_for(length: int, pad: Pad, dim: Dim) -> int | None:
    """The smallest allowed size that holds `length`; without buckets the next power of two; None: too long."""
    if isinstance(dim, int):
        return dim if length <= dim else None
    if not pad.buckets:
        return max(8, 1 << (length - 1).bit_length())
    return next((bucket for bucket in pad.buckets if length <= bucket), None)


def pad_to_bucket(model: str, layout: InputLayout, array: Array, axis: int) -> Array:
    """Fill `axis` of the array (the padded axis, counted with the batch axis) up to its bucket."""
    pad = layout.pad
    assert pad is not None
    length = array.shape[axis]
    bucket = bucket_for(length, pad, layout.padded_dim)
    if bucket is None:
        longest = layout.padded_dim if isinstance(layout.padded_dim, int) else pad.buckets[-1]
        raise InputError(
            f"model {model!r}: input {layout.name!r} has length {length} on axis {pad.axis} and its biggest "
            f"bucket is {longest}: shorten it, or declare a bigger bucket"
        )
    if bucket == length:
        return array
    shape = list(array.shape)
    shape[axis] = bucket
    padded = np.full(shape, pad.value, layout.dtype)
    padded[(slice(None),) * axis + (slice(length),)] = array
    return padded


def cut_back(output: Array, dims: tuple[Dim, ...], lengths: Mapping[str, int]) -> Array:
    """Cut every axis that carries a padded input's symbol to the true length. dims: the output's declared shape."""
    index = tuple(slice(lengths[dim]) if isinstance(dim, str) and dim in lengths else slice(None) for dim in dims)
    return output[index] if len(index) == output.ndim else output
