"""Small ONNX models, written node by node, each with the one property a test is about."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str | None]


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[int, Shape]],
    outputs: dict[str, tuple[int, Shape]],
    weights: dict[str, Any] | None = None,
    *,
    opset: int = 17,
    **save_options: Any,
) -> Path:
    """Write a model; inputs and outputs are name -> (TensorProto type, shape with str or None for free sizes)."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save(model, path, **save_options)
    return path


def add(path: Path, *, shape: Shape = ("N", 3), kind: int = TensorProto.FLOAT) -> Path:
    """total = x + y."""
    return save(
        path,
        [helper.make_node("Add", ["x", "y"], ["total"])],
        {"x": (kind, shape), "y": (kind, shape)},
        {"total": (kind, shape)},
    )


def double(path: Path, *, shape: Shape = ("N",), kind: int = TensorProto.FLOAT) -> Path:
    """y = x + x."""
    return save(path, [helper.make_node("Add", ["x", "x"], ["y"])], {"x": (kind, shape)}, {"y": (kind, shape)})


def mlp(path: Path, sizes: Sequence[int] = (64, 256, 256, 10), *, seed: int = 0, **save_options: Any) -> Path:
    """logits of a multi-layer perceptron on x [N, sizes[0]]."""
    random = np.random.default_rng(seed)
    nodes, weights, last = [], {}, "x"
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        final = layer == len(sizes) - 2
        weights[f"w{layer}"] = (random.standard_normal((fan_in, fan_out)) / fan_in**0.5).astype(np.float32)
        weights[f"b{layer}"] = random.standard_normal(fan_out).astype(np.float32)
        out = "logits" if final else f"h{layer}"
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [out]))
        if not final:
            nodes.append(helper.make_node("Relu", [out], [f"r{layer}"]))
        last = f"r{layer}"
    return save(
        path,
        nodes,
        {"x": (TensorProto.FLOAT, ("N", sizes[0]))},
        {"logits": (TensorProto.FLOAT, ("N", sizes[-1]))},
        weights,
        **save_options,
    )


def conv(path: Path, *, batch: int | str = "N", size: int = 8) -> Path:
    """features [N, 4, size, size] of an image [N, 3, size, size]."""
    weight = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
    return save(
        path,
        [helper.make_node("Conv", ["image", "w"], ["features"], pads=[1, 1, 1, 1])],
        {"image": (TensorProto.FLOAT, (batch, 3, size, size))},
        {"features": (TensorProto.FLOAT, (batch, 4, size, size))},
        {"w": weight},
    )


def lookup(path: Path, *, words: int = 10) -> Path:
    """value [N] = table[i], which raises for i outside -words .. words - 1: a model that one item can break."""
    return save(
        path,
        [helper.make_node("Gather", ["table", "i"], ["value"])],
        {"i": (TensorProto.INT64, ("N",))},
        {"value": (TensorProto.FLOAT, ("N",))},
        {"table": np.arange(words, dtype=np.float32) * 10},
    )


def masked_sum(path: Path) -> Path:
    """ids, mask [N, L] -> kept [N, L] = ids * mask and total [N]; padding with a mask of 0 changes nothing."""
    both = (TensorProto.INT64, ("N", "L"))
    return save(
        path,
        [
            helper.make_node("Mul", ["ids", "mask"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "axes"], ["total"], keepdims=0),
        ],
        {"ids": both, "mask": both},
        {"kept": both, "total": (TensorProto.INT64, ("N",))},
        {"axes": np.array([1])},
    )


def mean(path: Path) -> Path:
    """average [N] over x [N, L]: padding changes the result."""
    return save(
        path,
        [helper.make_node("ReduceMean", ["x"], ["average"], axes=[1], keepdims=0)],
        {"x": (TensorProto.FLOAT, ("N", "L"))},
        {"average": (TensorProto.FLOAT, ("N",))},
    )


def centred(path: Path) -> Path:
    """y = x - mean of x over the batch: rows change with their neighbours."""
    return save(
        path,
        [
            helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "m"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, ("N", 3))},
        {"y": (TensorProto.FLOAT, ("N", 3))},
    )


def summed(path: Path) -> Path:
    """total [3] = sum of x [N, 3] over the batch: an output without a batch axis."""
    return save(
        path,
        [helper.make_node("ReduceSum", ["x", "axes"], ["total"], keepdims=0)],
        {"x": (TensorProto.FLOAT, ("N", 3))},
        {"total": (TensorProto.FLOAT, (3,))},
        {"axes": np.array([0])},
    )


def scaled(path: Path) -> Path:
    """y = x * rate, where rate is a scalar that all rows share."""
    return save(
        path,
        [helper.make_node("Mul", ["x", "rate"], ["y"])],
        {"x": (TensorProto.FLOAT, ("N", 2)), "rate": (TensorProto.FLOAT, ())},
        {"y": (TensorProto.FLOAT, ("N", 2))},
    )


def recurrent(path: Path) -> Path:
    """state [2, N, 3] has its batch axis in the middle; next_state = state + x, total [N] = sum of x."""
    return save(
        path,
        [
            helper.make_node("Add", ["state", "x"], ["next_state"]),
            helper.make_node("ReduceSum", ["x", "axes"], ["total"], keepdims=0),
        ],
        {"x": (TensorProto.FLOAT, ("N", 3)), "state": (TensorProto.FLOAT, (2, "N", 3))},
        {"next_state": (TensorProto.FLOAT, (2, "N", 3)), "total": (TensorProto.FLOAT, ("N",))},
        {"axes": np.array([1])},
    )


def echo(path: Path, *, kind: int = TensorProto.STRING, shape: Shape = ("N",)) -> Path:
    """said = text."""
    return save(
        path, [helper.make_node("Identity", ["text"], ["said"])], {"text": (kind, shape)}, {"said": (kind, shape)}
    )
