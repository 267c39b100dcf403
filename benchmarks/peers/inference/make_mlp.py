"""Write the benchmark's model: an MLP 784-1024-1024-10 with fixed random weights."""

import itertools
import sys

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

random = np.random.default_rng(7)
sizes = [784, 1024, 1024, 10]
nodes, weights, last = [], [], "x"
for layer, (before, after) in enumerate(itertools.pairwise(sizes)):
    scale = (2 / before) ** 0.5
    weights.append(numpy_helper.from_array((random.standard_normal((before, after)) * scale).astype("f4"), f"w{layer}"))
    weights.append(numpy_helper.from_array(np.zeros(after, "f4"), f"b{layer}"))
    out = "scores" if layer == len(sizes) - 2 else f"h{layer}"
    nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [out]))
    if out != "scores":
        nodes.append(helper.make_node("Relu", [out], [f"{out}r"]))
    last = f"{out}r"
graph = helper.make_graph(
    nodes,
    "mlp",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 784])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])],
    weights,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
checker.check_model(model)
save(model, sys.argv[1])
