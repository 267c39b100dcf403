from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

import upon
from support import models
from upon import InputError, MissingExtra, Model, ModelError, Pad
from upon_runtime.inference import open_alone, open_served, session
from upon_runtime.inference.opened import OpenedModel


def served(path: Path, **options: object) -> OpenedModel:
    return open_served(Model("m", path, **options), folder=path.parent, observe=lambda *_: None)  # type: ignore[arg-type]


def test_an_open_model_describes_itself(tmp_path: Path) -> None:
    opened = served(models.mlp(tmp_path / "m.onnx"))
    assert [("x", "float32", ("N", 64))] == [(t.name, t.dtype, t.shape) for t in opened.inputs]
    assert [("logits", "float32", ("N", 10))] == [(t.name, t.dtype, t.shape) for t in opened.outputs]
    assert ("CPUExecutionProvider", None, 0) == (opened.provider, opened.serial_reason, opened.queue_depth)


def test_relative_paths_count_from_the_projects_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    models.add(tmp_path / "project" / "m.onnx")
    model = Model("m", "m.onnx")
    assert open_served(model, folder=tmp_path / "project", observe=lambda *_: None).inputs
    monkeypatch.chdir(tmp_path / "project")
    assert open_alone(model).inputs


def test_a_missing_file_is_named_in_full(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        open_served(Model("m", "models/none.onnx"), folder=tmp_path, observe=lambda *_: None)
    assert (
        f"model 'm': there is no file {tmp_path}/models/none.onnx: correct the path 'models/none.onnx' "
        f"(relative paths count from func.yaml's folder {tmp_path})"
    ) == str(caught.value)


def truncated(path: Path) -> None:
    whole = models.mlp(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def without_data(path: Path) -> None:
    models.mlp(path, (64, 512, 10), save_as_external_data=True, location="weights.data")
    (path.parent / "weights.data").unlink()


def with_unknown_operator(path: Path) -> None:
    tensor = (TensorProto.FLOAT, ("N",))
    models.save(path, [helper.make_node("Nonesuch", ["x"], ["y"])], {"x": tensor}, {"y": tensor})


def with_new_opset(path: Path) -> None:
    tensor = (TensorProto.FLOAT, ("N",))
    models.save(path, [helper.make_node("Identity", ["x"], ["y"])], {"x": tensor}, {"y": tensor}, opset=99)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_text("this is no model"), "is not an ONNX model, or only a part of one (16 bytes)"),
        (truncated, "is not an ONNX model, or only a part of one"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid"), "run git lfs pull"),
        (without_data, "lacks its external data"),
        (with_new_opset, "is too new for onnxruntime"),
        (with_unknown_operator, "Nonesuch"),
        (lambda path: models.echo(path, kind=TensorProto.BFLOAT16), "tensor(bfloat16), which has no numpy type"),
    ],
)
def test_a_file_that_is_no_good_model_gets_one_clear_error(make: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    make(path)  # type: ignore[operator]
    with pytest.raises(ModelError) as caught:
        served(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith("model 'm': ")
    assert "\n" not in str(caught.value)


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(tmp_path: Path) -> None:
    path = models.add(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"device='cuda' was asked for, but .*allow fallback='cpu'"):
        served(path, device="cuda")


def test_a_gpu_may_be_replaced_by_the_cpu_where_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = models.add(tmp_path / "m.onnx")
    assert "CPUExecutionProvider" == served(path, device="cuda", fallback="cpu").provider
    assert "model 'm' runs on the CPU (fallback='cpu'): onnxruntime" in caplog.text


class LyingRuntime:
    """Says that CUDA is there, and silently gives the CPU: what ONNX Runtime does without a driver."""

    def __init__(self, real: object) -> None:
        self._real = real
        self.preloaded = False

    def preload_dlls(self) -> None:
        self.preloaded = True

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def get_available_providers(self) -> list[str]:
        return [session.CUDA, session.CPU]

    def InferenceSession(self, path: str, options: object, *, providers: list, enable_fallback: int) -> object:
        assert 0 == enable_fallback
        assert self.preloaded or session.CUDA not in providers[0]  # else the CUDA packages are not found
        cpu = [each for each in providers if each == session.CPU]
        return self._real.InferenceSession(path, options, providers=cpu)  # type: ignore[attr-defined]


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_a_provider_that_silently_falls_back_is_noticed(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = session.ort.load
    monkeypatch.setattr(session.ort, "load", lambda what: LyingRuntime(real(what)))
    path = models.add(tmp_path / "m.onnx")
    if device == "cuda":
        with pytest.raises(ModelError, match="CUDA could not be loaded"):
            served(path, device=device)
    else:
        assert session.CPU == served(path, device=device).provider
        assert "runs on the CPU (device='auto'): CUDA could not be loaded" in caplog.text


def test_without_onnxruntime_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = models.add(tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"model 'm' needs the extra \[cpu\]: pip install 'upon\[cpu\]'"):
        served(path)


def test_importing_the_package_needs_no_numpy_and_telemetry_is_off() -> None:
    code = (
        "import sys, os, upon_runtime.inference as i; assert not {'numpy', 'onnxruntime'} & set(sys.modules);"
        "from upon_runtime.inference import ort; ort.load('x'); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "1" == done.stdout.strip()


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (lambda p: models.double(p), {"batch_axis": 1}, "batch_axis=1 does not exist in input 'x' of shape [N]"),
        (
            lambda p: models.double(p, shape=(4, 3)),
            {},
            "axis 0 of input 'x' of shape [4, 3] is fixed at 4 and can't be the batch axis",
        ),
        (lambda p: models.double(p, shape=()), {}, "no input has a batch axis: declare batch_axis=None"),
        (models.masked_sum, {"pad": {"idz": Pad(0)}}, "pad names the unknown input 'idz': it has 'ids', 'mask'"),
        (models.masked_sum, {"pad": {"ids": Pad(0)}}, "input 'mask' shares the axis 'L' with 'ids', which is padded"),
        (models.mean, {"pad": {"x": Pad(1)}}, "Pad(axis=1) of input 'x' does not exist in an item of shape [L]"),
        (
            lambda p: models.double(p, shape=("N", 4)),
            {"pad": {"x": Pad(0, buckets=(4, 8))}},
            "axis 0 of input 'x' is fixed at 4, so 4 is its only bucket, not [4, 8]",
        ),
        (
            lambda p: models.echo(p, shape=("N", "L")),
            {"pad": {"text": Pad(0)}},
            "input 'text' holds text and can't be padded",
        ),
    ],
)
def test_axes_that_do_not_fit_the_model_are_named(make: object, options: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        served(make(tmp_path / "m.onnx"), **options)  # type: ignore[operator]
    assert said in str(caught.value)


@pytest.mark.parametrize("options", [{"batch_axis": -1}, {"batch_axis": True}, {"pad": {"x": 3}}])
def test_a_model_is_declared_with_real_axes(options: dict) -> None:
    with pytest.raises(upon.UsageError):
        Model("m", "m.onnx", **options)


@pytest.mark.parametrize("options", [{"axis": -1}, {"axis": 0, "buckets": [0]}, {"axis": 0, "buckets": ["8"]}])
def test_a_pad_is_declared_with_real_sizes(options: dict) -> None:
    with pytest.raises(upon.UsageError):
        Pad(**options)


@pytest.mark.parametrize(
    ("make", "options", "reason"),
    [
        (models.mlp, {}, None),
        (models.conv, {}, None),
        (models.scaled, {}, None),
        (models.recurrent, {}, None),
        (models.masked_sum, {}, None),
        (models.echo, {}, None),
        (models.double, {"batch_axis": None}, "it is declared with batch_axis=None"),
        (
            lambda p: models.conv(p, batch=1),
            {},
            "input 'image' has a fixed batch of 1: shape [1, 3, 8, 8]",
        ),
        (models.centred, {}, "output 'y' of a row changes with its neighbours in the batch"),
        (models.summed, {}, "output 'total' has no batch axis"),
    ],
)
def test_the_probe_finds_what_can_share_a_run(
    make: object, options: dict, reason: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    opened = served(make(tmp_path / "m.onnx"), **options)  # type: ignore[operator]
    assert reason == opened.serial_reason
    if reason is not None:
        assert f"model 'm' runs one item at a time: {reason}" in caplog.text


def test_dynamic_quantisation_is_found(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    tensor = (TensorProto.FLOAT, ("N", 16))
    opened = served(models.save(tmp_path / "m.onnx", nodes, {"x": tensor}, {"y": tensor}))
    assert "output 'y' of a row changes with its neighbours in the batch" == opened.serial_reason


def test_padding_that_changes_results_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened = served(models.mean(tmp_path / "m.onnx"), pad={"x": Pad(0, buckets=(4, 8))})
    assert "model 'm' does not pad: output 'average' changes with padding" in caplog.text
    assert 3.0 == opened.call({"x": np.array([1, 2, 6], np.float32)})["average"]


def test_outputs_outlive_their_model(tmp_path: Path) -> None:
    opened = served(models.mlp(tmp_path / "m.onnx"))
    x = np.ones(64, np.float32)
    kept = opened.call({"x": x})["logits"]
    expected = kept.copy()
    for _ in range(50):
        opened.call({"x": x * 2})
    opened.close()
    del opened
    gc.collect()
    np.testing.assert_array_equal(expected, kept)


def test_a_session_is_refused_in_a_forked_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = served(models.double(tmp_path / "m.onnx"))
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)
    with pytest.raises(ModelError, match=f"and is called in {child}: a session does not survive a fork"):
        opened.call({"x": np.float32(1)})


def test_the_first_use_without_a_runtime_opens_the_model(tmp_path: Path) -> None:
    model = Model("m", models.double(tmp_path / "m.onnx"))
    assert 3.0 == model(x=1.5)["y"]
    with pytest.raises(InputError, match="no input 'z'"):
        model(z=1.5)


@pytest.mark.parametrize("missing", ["numpy", "onnxruntime"])
def test_a_missing_package_names_the_pip_command(missing: str, tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules[{missing!r}] = None  # as if it were not installed
import upon
try:
    upon.Model("m", "none.onnx")._open()
except upon.MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'upon[cpu]'" in done.stdout
