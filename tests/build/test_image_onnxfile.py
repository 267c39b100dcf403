"""Where an ONNX model's weights are, found without the package that wrote it."""

from __future__ import annotations

import io
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from upon_build.image.files.onnxfile import _TENSORS, external_files


def found(model: Any) -> tuple[str, ...]:
    return external_files(io.BytesIO(model.SerializeToString()))


def outside(location: str, name: str = "w") -> Any:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="offset", value="4096")
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value="8")
    return tensor


def inside(size: int = 2) -> Any:
    return numpy_helper.from_array(np.zeros(size, np.float32), "inside")


def model(*tensors: Any, nodes: Any = ()) -> Any:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    return helper.make_model(helper.make_graph(list(nodes), "g", [], [output], list(tensors)))


def test_weights_beside_and_inside() -> None:
    assert ("b/c.bin", "w.bin") == found(model(outside("w.bin"), inside(), outside("b/c.bin"), outside("w.bin")))


def test_weights_inside() -> None:
    assert () == found(model(inside(1000)))


def test_what_is_not_said_to_lie_outside_does_not() -> None:
    tensor = outside("w.bin")
    tensor.data_location = TensorProto.DEFAULT
    assert () == found(model(tensor))


@pytest.mark.parametrize("attribute", ["t", "tensors", "g", "graphs", "sparse_tensor", "sparse_tensors"])
def test_in_a_node(attribute: str) -> None:
    sparse = onnx.SparseTensorProto(values=outside("w.bin"), dims=[2])
    graph = helper.make_graph([], "inner", [], [], [outside("w.bin")])
    value = {"t": outside("w.bin"), "g": graph, "sparse_tensor": sparse}.get(attribute.removesuffix("s"))
    value = value or {"tensors": outside("w.bin"), "graphs": graph}[attribute]
    node = helper.make_node("Constant", [], ["y"])
    held = node.attribute.add(name="a")
    if attribute.endswith("s"):
        getattr(held, attribute).append(value)
    else:
        getattr(held, attribute).CopyFrom(value)
    assert ("w.bin",) == found(model(nodes=[node]))


def test_in_functions_training_and_sparse_weights() -> None:
    whole = model()
    node = helper.make_node("Constant", [], ["y"], value=outside("function.bin"))
    whole.functions.add(name="f", node=[node])
    whole.training_info.add(algorithm=helper.make_graph([], "t", [], [], [outside("training.bin")]))
    whole.graph.sparse_initializer.add(values=inside(), indices=outside("sparse.bin"))
    assert ("function.bin", "sparse.bin", "training.bin") == found(whole)


def test_the_fields_are_those_of_the_package() -> None:
    """Whatever can hold a tensor there is followed here, as far as the package at hand knows."""
    names = {"Sparse": "SparseTensorProto", "Training": "TrainingInfoProto"}
    proto = {name: names.get(name, f"{name}Proto") for name in [*_TENSORS, "Tensor"]}
    for name, fields in _TENSORS.items():
        known = {
            field.number: field.message_type.name
            for field in getattr(onnx, proto[name]).DESCRIPTOR.fields
            if field.message_type is not None and field.message_type.name in proto.values()
        }
        assert known == {number: proto[inner] for number, inner in fields.items()}, name


def test_a_model_of_this_house() -> None:
    with (Path(__file__).parents[2] / "models/magika/model.onnx").open("rb") as file:
        assert () == external_files(file)


def test_as_the_package_saves_it(tmp_path: Path) -> None:
    whole = model(*(numpy_helper.from_array(np.ones(2000, np.float32), f"w{i}") for i in range(3)))
    onnx.save(whole, tmp_path / "m.onnx", save_as_external_data=True, all_tensors_to_one_file=True, location="m.data")
    with (tmp_path / "m.onnx").open("rb", buffering=0) as file:
        assert ("m.data",) == external_files(file)  # type: ignore[arg-type]


@given(st.binary(max_size=300))
def test_anything_else_has_none(content: bytes) -> None:
    assert all(isinstance(name, str) for name in external_files(io.BytesIO(content)))


@given(st.data())
def test_a_part_of_a_model(data: st.DataObject) -> None:
    content = model(outside("w.bin"), inside()).SerializeToString()
    part = content[: data.draw(st.integers(0, len(content) - 1))]
    assert external_files(io.BytesIO(part)) in ((), ("w.bin",))  # the last fields may be missing


def field(number: int, content: bytes) -> bytes:
    length = bytearray()
    rest = len(content)
    while rest > 127:
        length.append(rest & 127 | 128)
        rest >>= 7
    return bytes([number << 3 | 2]) + bytes(length) + bytes([rest]) + content


@pytest.mark.parametrize(("depth", "expected"), [(20, ("w.bin",)), (1000, ())])
def test_graphs_in_graphs(depth: int, expected: tuple[str, ...]) -> None:
    graph = field(5, outside("w.bin").SerializeToString())
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    assert expected == external_files(io.BytesIO(field(7, graph)))


def test_weights_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model(inside(2_000_000), outside("w.bin")).SerializeToString())
    tracemalloc.start()
    with path.open("rb", buffering=0) as file:
        assert ("w.bin",) == external_files(file)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_garbage_ends_soon() -> None:
    content = random.Random(1).randbytes(2**20)
    assert () == external_files(io.BytesIO(content))
