"""Train the classifier that `func create --template onnx` ships, from R. A. Fisher's iris data (1936, public domain).

python tools/make_iris_model.py [OUT]      needs numpy and onnx; the same weights on every run
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper

HERE = Path(__file__).parent
OUT = HERE.parent / "build/upon_build/templates/onnx/models/iris.onnx"
SPECIES = ("setosa", "versicolor", "virginica")

Floats = NDArray[np.float64]


def read_rows(path: Path = HERE / "iris.csv") -> tuple[Floats, NDArray[np.int64]]:
    """Measurements in centimetres [150, 4] and the index of the species [150]."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return (
        np.array([[float(cell) for cell in row[:4]] for row in rows]),
        np.array([SPECIES.index(row[4]) for row in rows]),
    )


def train(rows: Floats, labels: NDArray[np.int64], steps: int = 3000, rate: float = 0.5) -> tuple[Floats, Floats]:
    """Multinomial logistic regression by plain gradient descent; weights [4, 3] and bias [3] for raw centimetres."""
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    scaled, wanted = (rows - mean) / deviation, np.eye(3)[labels]
    weights, bias = np.zeros((4, 3)), np.zeros(3)
    for _ in range(steps):
        logits = scaled @ weights + bias
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = (odds / odds.sum(axis=1, keepdims=True) - wanted) / len(rows)
        weights -= rate * (scaled.T @ error + 1e-4 * weights)
        bias -= rate * error.sum(axis=0)
    weights = weights / deviation[:, None]
    return weights, bias - mean @ weights


def graph_of(weights: Floats, bias: Floats) -> Any:
    """measurements float32 [N, 4] -> label int64 [N], probabilities float32 [N, 3]."""
    nodes = [
        helper.make_node("Gemm", ["measurements", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "iris",
        [helper.make_tensor_value_info("measurements", TensorProto.FLOAT, ["N", 4])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3]),
        ],
        [
            numpy_helper.from_array(weights.astype(np.float32), "weights"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, producer_name="upon", opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {"species": ",".join(SPECIES), "data": "R. A. Fisher, 1936"})
    checker.check_model(model, full_check=True)
    return model


def main() -> None:
    rows, labels = read_rows()
    weights, bias = train(rows, labels)
    right = int(((rows @ weights + bias).argmax(axis=1) == labels).sum())
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.write_bytes(graph_of(weights, bias).SerializeToString(deterministic=True))
    print(f"{out}: {out.stat().st_size} bytes, {right} of {len(rows)} training rows right")


if __name__ == "__main__":
    main()
