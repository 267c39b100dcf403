"""The classifier in the onnx template: what the script makes from the data is what is shipped."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

np = pytest.importorskip("numpy", reason="needs numpy: pip install 'upon[cpu]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install 'upon[cpu]'")
onnx = pytest.importorskip("onnx", reason="needs onnx: pip install onnx")

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "build/upon_build/templates/onnx/models/iris.onnx"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_iris_model", ROOT / "tools/make_iris_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_model_is_the_scripts(script: ModuleType) -> None:
    weights, bias = script.train(*script.read_rows())
    shipped: dict[str, Any] = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(SHIPPED).graph.initializer
    }

    np.testing.assert_allclose(shipped["weights"], weights, rtol=1e-5)
    np.testing.assert_allclose(shipped["bias"], bias, rtol=1e-5)


def test_it_knows_its_flowers(script: ModuleType) -> None:
    rows, labels = script.read_rows()
    session = onnxruntime.InferenceSession(SHIPPED, providers=["CPUExecutionProvider"])

    found, probabilities = session.run(["label", "probabilities"], {"measurements": rows.astype(np.float32)})

    assert rows.shape == (150, 4)
    assert np.bincount(labels).tolist() == [50, 50, 50]
    assert (found == labels).sum() == 147
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
