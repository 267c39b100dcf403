"""Which files an ONNX model refers to, read without its weights and without the onnx package.

A model is one Protocol Buffers message. This walks only the fields that lead to tensors and seeks over everything
else, so that a file of gigabytes costs a few pages. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, cast

_TENSORS: Mapping[str, Mapping[int, str]] = {  # message -> field -> the message in it, on every way to a tensor
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 13, 14, 1  # of TensorProto
_VARINT, _BYTES = 0, 2  # wire types
_WIDTHS = {1: 8, 5: 4}  # of the fixed ones, in bytes
_DEPTH = 100
_LOCATIONS = 10_000
_LOCATION = 4096  # bytes


def external_files(file: BinaryIO) -> tuple[str, ...]:
    """The `location` of every tensor that lies outside, sorted; none for what is not an ONNX model.

    file: open for reading; from its beginning. Its position is left anywhere.
    """
    file.seek(0)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    buffered = io.BufferedReader(cast("Any", file), 2**14)
    try:
        return tuple(sorted(_Walk(buffered).locations("Model", size)))
    except ValueError:
        return ()
    finally:
        buffered.detach()


class _Walk:
    """Reads forward; `at` is the position in the file."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._at = 0
        self._found: set[str] = set()

    def locations(self, message: str, size: int) -> set[str]:
        """Raises ValueError for what is not this message."""
        self._message(message, size, 0)
        return self._found

    def _message(self, message: str, end: int, depth: int) -> None:
        if depth > _DEPTH:
            raise ValueError("nested too deep")
        inside = _TENSORS[message]
        for field, kind, number in self._fields(end):
            if kind != _BYTES or field not in inside:
                self._skip(kind, number)
            elif inside[field] == "Tensor":
                self._tensor(self._at + number)
            else:
                self._message(inside[field], self._at + number, depth + 1)

    def _tensor(self, end: int) -> None:
        location, external = "", False
        for field, kind, number in self._fields(end):
            if field == _EXTERNAL_DATA and kind == _BYTES:
                key, value = self._pair(self._at + number)
                location = value if key == "location" else location
                continue
            external = number == _EXTERNAL if (field, kind) == (_DATA_LOCATION, _VARINT) else external
            self._skip(kind, number)
        if external and location:
            self._found.add(location)
            if len(self._found) > _LOCATIONS:
                raise ValueError("too many files")

    def _pair(self, end: int) -> tuple[str, str]:
        texts = {1: "", 2: ""}
        for field, kind, number in self._fields(end):
            if field in texts and kind == _BYTES and number <= _LOCATION:
                self._at += number
                texts[field] = self._file.read(number).decode()
            else:
                self._skip(kind, number)
        return texts[1], texts[2]

    def _fields(self, end: int) -> Iterator[tuple[int, int, int]]:
        """(number, wire type, a varint's value or else how many bytes of value follow) until the position `end`."""
        while self._at < end:
            tag = self._varint()
            field, kind = tag >> 3, tag & 7
            number = _WIDTHS[kind] if kind in _WIDTHS else self._varint() if kind in (_VARINT, _BYTES) else -1
            if field == 0 or number < 0 or (kind != _VARINT and self._at + number > end):
                raise ValueError("no message")
            yield field, kind, number
        if self._at != end:
            raise ValueError("no message")

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._file.read(1)
            if not byte:
                raise ValueError("the file ends early")
            self._at += 1
            value |= (byte[0] & 127) << shift
            if byte[0] < 128:
                return value
        raise ValueError("no varint")

    def _skip(self, kind: int, number: int) -> None:
        if kind != _VARINT and number:
            self._at += number
            self._file.seek(number, os.SEEK_CUR)
