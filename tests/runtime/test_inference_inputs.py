from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from support import models
from upon import InputError, Model, Pad
from upon_runtime.inference import open_alone
from upon_runtime.inference.casting import Misfit, to_array
from upon_runtime.inference.opened import OpenedModel

F32, I64, U8, BOOL, TEXT = map(np.dtype, ("float32", "int64", "uint8", "bool", "object"))


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (1.5, F32, np.float32(1.5)),
        (0.1, F32, np.float32(0.1)),
        (2, F32, np.float32(2)),
        ([1, 2], F32, np.array([1, 2], np.float32)),
        ([[1, 2], [3, 4]], I64, np.array([[1, 2], [3, 4]])),
        ((1, 2), U8, np.array([1, 2], np.uint8)),
        (2.0, I64, np.int64(2)),
        (255, U8, np.uint8(255)),
        ([True, 0, 1], BOOL, np.array([True, False, True])),
        (True, I64, np.int64(1)),
        (float("inf"), F32, np.float32(np.inf)),
        ([], F32, np.array([], np.float32)),
        (np.float64(0.5), F32, np.float32(0.5)),
        ([np.float64(0.5), 1], F32, np.array([0.5, 1], np.float32)),
        ("a", TEXT, np.array("a", object)),
        (["a", "b"], TEXT, np.array(["a", "b"], object)),
        (np.array(["a", "b"]), TEXT, np.array(["a", "b"], object)),
        (np.array(["a"], object), TEXT, np.array(["a"], object)),
        (np.array([1], np.float32), F32, np.array([1], np.float32)),
        (np.array([1], np.float16), F32, np.array([1], np.float32)),
        (np.array([1], np.int32), I64, np.array([1])),
        (np.array([1], ">i8"), I64, np.array([1])),
    ],
)
def test_values_are_cast_when_none_changes(value: Any, dtype: np.dtype, expected: Any) -> None:
    array = to_array(value, dtype)
    assert isinstance(array, np.ndarray)
    assert dtype == array.dtype
    np.testing.assert_array_equal(expected, array)


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        (1.5, I64, "got 1.5, which int64 can't hold"),
        ([1, 2.5], I64, "got 2.5, which int64 can't hold"),
        (float("nan"), I64, "got nan, which int64 can't hold"),
        (300, U8, "got 300, which uint8 can't hold"),
        (-1, U8, "got -1, which uint8 can't hold"),
        (2**63, I64, f"got {2**63}, which int64 can't hold"),
        (2**70, I64, f"got {2**70}, which is no number"),
        ([2**53 + 1, 1.0], I64, "which int64 can't hold"),
        (1e39, F32, "got 1e+39, which float32 can't hold"),
        (2**24 + 1, F32, f"got {2**24 + 1}, which float32 can't hold"),
        (2, BOOL, "got 2, which bool can't hold"),
        ("1", F32, "got '1', which is no number"),
        ([1, None], F32, "got None, which is no number"),
        ([[1.0], ["x"]], F32, "got 'x', which is no number"),
        ([[1], [1, 2]], F32, "got a ragged list"),
        (1j, F32, "got 1j, which is no number"),
        (None, F32, "got NoneType, which is no array of numbers"),
        ({"a": 1}, F32, "got dict, which is no array of numbers"),
        (b"abc", U8, "got bytes: make an array of it with np.frombuffer"),
        ([1, "a"], TEXT, "got 1, which is no text"),
        (1, TEXT, "got 1, which is no text"),
        ([b"a"], TEXT, "got b'a', which is no text"),
        (np.array([1.5]), F32, "got an array of float64: convert it with .astype(np.float32)"),
        (np.array([1]), F32, "got an array of int64: convert it with .astype(np.float32)"),
        (np.array([1], np.uint8), I64, "got an array of uint8: convert it with .astype(np.int64)"),
        (np.array([True]), I64, "got an array of bool: convert it with .astype(np.int64)"),
    ],
)
def test_values_that_would_change_are_refused(value: Any, dtype: np.dtype, said: str) -> None:
    with pytest.raises(Misfit) as caught:
        to_array(value, dtype)
    assert said in str(caught.value)


@pytest.fixture
def adder(tmp_path: Path) -> OpenedModel:
    return open_alone(Model("adder", models.add(tmp_path / "m.onnx")))


ONE = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"x": ONE}, "model 'adder': input 'y' is missing: it takes 'x', 'y'"),
        ({}, "model 'adder': input 'x', 'y' is missing: it takes 'x', 'y'"),
        ({"x": ONE, "y": ONE, "yy": ONE}, "model 'adder' has no input 'yy': did you mean 'y'?"),
        ({"x": ONE, "zzz": ONE}, "model 'adder' has no input 'zzz': it takes 'x', 'y'"),
        (
            {"x": ONE, "y": ONE[:2]},
            "model 'adder': input 'y' takes float32 of shape [3] (one item), got shape [2]",
        ),
        (
            {"x": ONE, "y": ONE[None]},
            "model 'adder': input 'y' takes float32 of shape [3] (one item), got shape [1, 3]",
        ),
        (
            {"x": ONE.astype(np.float64), "y": ONE},
            "model 'adder': input 'x' takes float32 of shape [3] (one item), got an array of float64: "
            "convert it with .astype(np.float32)",
        ),
        (
            {"x": [1, 2, "3"], "y": ONE},
            "model 'adder': input 'x' takes float32 of shape [3] (one item), got '3', which is no number",
        ),
    ],
)
def test_an_item_that_does_not_fit_is_named(adder: OpenedModel, given: dict, said: str) -> None:
    with pytest.raises(InputError) as caught:
        adder.call(given)
    assert said == str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"x": ONE, "y": ONE},
            "model 'adder': input 'x' takes float32 of shape [N, 3] (rows), got shape [3]",
        ),
        (
            {"x": np.ones((2, 3), np.float32), "y": np.ones((4, 3), np.float32)},
            "model 'adder': all inputs must have the same number of rows: 'x' has 2, 'y' has 4",
        ),
        ({"x": [[1, 2, 3]]}, "model 'adder': input 'y' is missing: it takes 'x', 'y'"),
    ],
)
def test_rows_that_do_not_fit_are_named(adder: OpenedModel, given: dict, said: str) -> None:
    with pytest.raises(InputError) as caught:
        adder.batch(given)
    assert said == str(caught.value)


@pytest.mark.parametrize("make", [models.add, models.recurrent, models.summed])
def test_no_rows_give_no_rows(make: Any, tmp_path: Path) -> None:
    opened = open_alone(Model("m", make(tmp_path / "m.onnx")))

    def rows(count: int) -> dict[str, Any]:
        shapes = [[count if dim == "N" else dim for dim in tensor.shape] for tensor in opened.inputs]
        given = {t.name: np.ones(shape, np.float32) for t, shape in zip(opened.inputs, shapes, strict=True)}
        return opened.batch(given)

    one, none = rows(1), rows(0)
    for name, out in one.items():
        axis = out.shape.index(1)
        assert none[name].shape == (*out.shape[:axis], 0, *out.shape[axis + 1 :])
        assert none[name].dtype == out.dtype


def test_lists_and_odd_memory_layouts_are_taken(adder: OpenedModel) -> None:
    wide = np.arange(6, dtype=np.float32)[::2]
    np.testing.assert_array_equal([1, 4, 7], adder.call({"x": wide, "y": [1, 2, 3]})["total"])
    rows = np.arange(6, dtype=np.float32).reshape(3, 2).T
    np.testing.assert_array_equal(rows * 2, adder.batch({"x": rows, "y": rows})["total"])


def test_text_goes_in_and_out(tmp_path: Path) -> None:
    opened = open_alone(Model("m", models.echo(tmp_path / "m.onnx")))
    assert "grüß" == opened.call({"text": "grüß"})["said"].item()
    assert ["a", "b"] == opened.batch({"text": ["a", "b"]})["said"].tolist()


def test_a_scalar_input_is_shared_by_all_rows(tmp_path: Path) -> None:
    opened = open_alone(Model("m", models.scaled(tmp_path / "m.onnx")))
    assert [2, 4] == opened.call({"x": [1, 2], "rate": 2})["y"].tolist()
    assert [[3, 6], [9, 12]] == opened.batch({"x": [[1, 2], [3, 4]], "rate": 3})["y"].tolist()


def test_a_batch_axis_in_the_middle_is_found_by_its_name(tmp_path: Path) -> None:
    opened = open_alone(Model("m", models.recurrent(tmp_path / "m.onnx"), max_batch_size=2))
    x, state = np.arange(9, dtype=np.float32).reshape(3, 3), np.ones((2, 3, 3), np.float32)
    out = opened.call({"x": x[1], "state": state[:, 1]})
    assert [(2, 3), ()] == [each.shape for each in out.values()]
    np.testing.assert_array_equal(state[:, 1] + x[1], out["next_state"])
    rows = opened.batch({"x": x, "state": state})  # in two runs
    np.testing.assert_array_equal(state + x, rows["next_state"])
    np.testing.assert_array_equal(x.sum(axis=1), rows["total"])


@pytest.mark.parametrize("make", [lambda p: models.conv(p, batch=1), models.conv])
def test_a_fixed_batch_of_one_is_hidden(make: Any, tmp_path: Path) -> None:
    opened = open_alone(Model("m", make(tmp_path / "m.onnx")))
    image = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    single = [opened.call({"image": each})["features"] for each in image]
    assert [(4, 8, 8)] * 3 == [each.shape for each in single]
    np.testing.assert_allclose(opened.batch({"image": image})["features"], np.stack(single), rtol=1e-4, atol=1e-5)


def test_a_model_without_a_batch_axis_takes_the_inputs_as_they_are(tmp_path: Path) -> None:
    opened = open_alone(Model("m", models.double(tmp_path / "m.onnx", shape=(2, 3)), batch_axis=None))
    assert (2, 3) == opened.call({"x": np.ones((2, 3), np.float32)})["y"].shape
    with pytest.raises(InputError, match=r"has no batch axis .*call it once for each item"):
        opened.batch({"x": np.ones((2, 3), np.float32)})


def test_outputs_without_a_batch_axis_are_stacked_for_rows(tmp_path: Path) -> None:
    opened = open_alone(Model("m", models.summed(tmp_path / "m.onnx")))
    assert [1, 2, 3] == opened.call({"x": [1, 2, 3]})["total"].tolist()
    assert [[1, 2, 3], [4, 5, 6]] == opened.batch({"x": [[1, 2, 3], [4, 5, 6]]})["total"].tolist()


@pytest.fixture
def padded(tmp_path: Path) -> OpenedModel:
    pads = {"ids": Pad(0, buckets=[4, 8]), "mask": Pad(0, buckets=[4, 8])}
    return open_alone(Model("m", models.masked_sum(tmp_path / "m.onnx"), pad=pads))


def test_padding_is_cut_off_again(padded: OpenedModel) -> None:
    out = padded.call({"ids": [1, 2, 3], "mask": [1, 0, 1]})
    assert ([1, 0, 3], 4) == (out["kept"].tolist(), out["total"])
    rows = padded.batch({"ids": [[1] * 5, [2] * 5], "mask": [[1] * 5] * 2})
    assert ([[1] * 5, [2] * 5], [5, 10]) == (rows["kept"].tolist(), rows["total"].tolist())


def test_an_item_over_the_biggest_bucket_is_refused(padded: OpenedModel) -> None:
    with pytest.raises(InputError, match=r"input 'ids' has length 9 on axis 0 and its biggest bucket is 8"):
        padded.call({"ids": [1] * 9, "mask": [1] * 9})


def test_padded_inputs_of_one_axis_must_be_equally_long(padded: OpenedModel) -> None:
    with pytest.raises(InputError, match="input 'mask' has length 2 on the axis 'L' and another input has 3"):
        padded.call({"ids": [1, 2, 3], "mask": [1, 1]})


def test_without_buckets_the_next_power_of_two_is_one(tmp_path: Path) -> None:
    opened = open_alone(Model("m", models.masked_sum(tmp_path / "m.onnx"), pad={"ids": Pad(0), "mask": Pad(0)}))
    widths = [opened._checks.item({"ids": [1] * n, "mask": [1] * n}).arrays[0].shape for n in (1, 8, 9, 100)]
    assert [(1, 8), (1, 8), (1, 16), (1, 128)] == widths


def test_a_fixed_axis_may_be_padded_to_its_size(tmp_path: Path) -> None:
    opened = open_alone(Model("m", models.double(tmp_path / "m.onnx", shape=("N", 4)), pad={"x": Pad(0, value=-1)}))
    assert [2, 4, -2, -2] == opened.call({"x": [1, 2]})["y"].tolist()
    with pytest.raises(InputError, match="length 5 on axis 0 and its biggest bucket is 4"):
        opened.call({"x": [1] * 5})


def test_an_item_of_no_dimensions_gives_an_array(tmp_path: Path) -> None:
    opened = open_alone(Model("m", models.double(tmp_path / "m.onnx", kind=TensorProto.INT64)))
    out = opened.call({"x": 21})["y"]
    assert isinstance(out, np.ndarray)
    assert 42 == out
