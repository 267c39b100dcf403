"""What a model's inputs and outputs are, in numpy's terms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from upon import ModelError

Array: TypeAlias = NDArray[Any]
Dim: TypeAlias = int | str | None

_DTYPES: dict[str, str] = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "str",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output. dtype: numpy's name, "str" for text. shape: a str or None where the size is free."""

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(object if self.dtype == "str" else self.dtype)


def describe(model: str, role: str, nodes: Iterable[Any]) -> tuple[Tensor, ...]:
    """Tensors from ONNX Runtime's node arguments. Raises ModelError for what numpy can't hold."""
    return tuple(Tensor(node.name, _dtype(model, role, node), tuple(node.shape)) for node in nodes)


def _dtype(model: str, role: str, node: Any) -> str:
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        hint = " (scikit-learn models: export with zipmap=False)" if node.type.startswith("seq(map") else ""
        raise ModelError(
            f"model {model!r}: {role} {node.name!r} is a {node.type}, which has no numpy type: "
            f"export the model with plain tensors{hint}"
        )
    return dtype


def shape_text(shape: Iterable[Dim]) -> str:
    """A shape for people: [N, 64], with ? for a free size without a name."""
    return "[" + ", ".join("?" if dim is None else str(dim) for dim in shape) + "]"
