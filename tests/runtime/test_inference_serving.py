"""Real sessions behind the batcher, called from many threads and tasks at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from support import models
from support.batching import DEADLINE, Caller, wait_until
from upon import DeadlineExceeded, Draining, InputError, Model, ModelError, Overloaded, Pad, UsageError
from upon._engine import Invocation, invocation
from upon_runtime.inference import open_alone, open_served, opening
from upon_runtime.inference.opened import OpenedModel


class Held:
    """An open model whose first run can be held, so that others queue up behind it."""

    def __init__(self, model: Model, **options: Any) -> None:
        self.runs: list[int] = []
        self.opened: OpenedModel = opening.open_served(
            model, folder=Path("/"), observe=lambda name, rows, seconds: self.runs.append(rows), **options
        )
        model._bind(self.opened)
        self._go = threading.Event()
        self._go.set()
        self._held = threading.Event()
        self._run = self.opened._runs._run
        self.opened._runs._run = self._wait_and_run

    def _wait_and_run(self, arrays: list[Any]) -> list[Any]:
        if not self._go.is_set():
            self._held.set()
            assert self._go.wait(DEADLINE)
        return self._run(arrays)

    def occupy(self, call: Any) -> Caller:
        self._go.clear()
        self._held.clear()
        caller = Caller(call)
        assert self._held.wait(DEADLINE)
        return caller

    def go(self) -> None:
        self._go.set()


@pytest.fixture
def mlp(tmp_path: Path) -> Model:
    return Model("mlp", models.mlp(tmp_path / "m.onnx"))


@pytest.fixture
def lookup(tmp_path: Path) -> Model:
    return Model("lookup", models.lookup(tmp_path / "m.onnx"))


def reference(model: Model, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": row[None]})[0] for row in rows])


def test_64_callers_are_inferred_in_batches_equal_to_one_by_one(mlp: Model) -> None:
    held = Held(mlp)
    rows = np.random.default_rng(3).standard_normal((64, 64)).astype(np.float32)
    first = held.occupy(lambda: mlp(x=rows[0]))
    callers = [Caller(lambda row=row: mlp(x=row)["logits"]) for row in rows[1:]]
    wait_until(lambda: held.opened.queue_depth == 63)
    held.go()
    answers = [first.finish()["logits"], *(caller.finish() for caller in callers)]
    assert [1, 63] == held.runs
    np.testing.assert_allclose(np.stack(answers), reference(mlp, rows), rtol=1e-5, atol=1e-5)


def test_a_malformed_item_among_63_good_ones_fails_alone(lookup: Model) -> None:
    held = Held(lookup)
    first = held.occupy(lambda: lookup(i=0))
    callers = [Caller(lambda i=i: lookup(i=99 if i == 40 else i % 10)["value"]) for i in range(64)]
    wait_until(lambda: held.opened.queue_depth == 64)
    held.go()
    first.finish()
    for i, caller in enumerate(callers):
        if i == 40:
            with pytest.raises(ModelError, match=r"model 'lookup': the run failed: .*out of data bounds"):
                caller.finish()
        else:
            assert (i % 10) * 10 == caller.finish()
    assert {1, 2, 4, 8, 16, 32} <= set(held.runs)


def test_inputs_that_do_not_fit_never_reach_the_queue(mlp: Model) -> None:
    held = Held(mlp)
    first = held.occupy(lambda: mlp(x=np.zeros(64, np.float32)))
    with pytest.raises(InputError):
        mlp(x=[1, 2, 3])
    assert 0 == held.opened.queue_depth
    held.go()
    first.finish()


def test_rows_share_runs_with_items_and_large_batches_are_split(tmp_path: Path) -> None:
    model = Model("m", models.double(tmp_path / "m.onnx"), max_batch_size=8)
    held = Held(model)
    first = held.occupy(lambda: model(x=1))
    batch = Caller(lambda: model.batch(x=np.arange(20, dtype=np.float32)))
    wait_until(lambda: held.opened.queue_depth == 8)
    three = Caller(lambda: model.batch(x=[1, 2, 3]))
    wait_until(lambda: held.opened.queue_depth == 11)
    single = Caller(lambda: model(x=5))
    wait_until(lambda: held.opened.queue_depth == 12)
    held.go()
    first.finish()
    assert [2 * i for i in range(20)] == batch.finish()["y"].tolist()
    assert [2, 4, 6] == three.finish()["y"].tolist()
    assert 10 == single.finish()["y"]
    assert max(held.runs) == 8
    assert sum(held.runs) == 1 + 20 + 3 + 1


def test_lengths_share_runs_only_by_their_shape_or_bucket(tmp_path: Path) -> None:
    path = models.masked_sum(tmp_path / "m.onnx")

    def runs(pad: dict[str, Pad]) -> list[int]:
        model = Model("m", path, pad=pad)
        held = Held(model)
        first = held.occupy(lambda: model(ids=[1] * 20, mask=[1] * 20))
        callers = [Caller(lambda n=n: model(ids=[n] * n, mask=[1] * n)) for n in (2, 3, 2, 6, 3)]
        wait_until(lambda: held.opened.queue_depth == 5)
        held.go()
        first.finish()
        for n, caller in zip((2, 3, 2, 6, 3), callers, strict=True):
            out = caller.finish()
            assert ([n] * n, n * n) == (out["kept"].tolist(), out["total"])
        return sorted(held.runs[1:])

    buckets = {"ids": Pad(0, buckets=(4, 8, 32)), "mask": Pad(0, buckets=(4, 8, 32))}
    assert [1, 2, 2] == runs({})
    assert [1, 4] == runs(buckets)


def test_a_shared_scalar_keeps_different_values_apart(tmp_path: Path) -> None:
    model = Model("m", models.scaled(tmp_path / "m.onnx"))
    held = Held(model)
    first = held.occupy(lambda: model(x=[0, 0], rate=9))
    callers = [Caller(lambda rate=rate: model(x=[1, 2], rate=rate)) for rate in (2, 3, 2)]
    wait_until(lambda: held.opened.queue_depth == 3)
    held.go()
    first.finish()
    assert [[2, 4], [3, 6], [2, 4]] == [caller.finish()["y"].tolist() for caller in callers]
    assert [1, 1, 2] == sorted(held.runs)


@pytest.mark.parametrize("make", [lambda p: models.conv(p, batch=1), models.centred, models.summed])
def test_a_model_that_can_not_batch_runs_one_by_one(make: Any, tmp_path: Path) -> None:
    model = Model("m", make(tmp_path / "m.onnx"))
    held = Held(model)
    (tensor,) = held.opened.inputs
    items = np.random.default_rng(0).standard_normal((5, *tensor.shape[1:])).astype(np.float32)
    alone = [open_alone(model).call({tensor.name: item}) for item in items]
    first = held.occupy(lambda: model({tensor.name: items[0]}))
    callers = [Caller(lambda item=item: model({tensor.name: item})) for item in items]
    wait_until(lambda: held.opened.queue_depth == 5)
    held.go()
    first.finish()
    for expected, caller in zip(alone, callers, strict=True):
        np.testing.assert_equal(caller.finish(), expected)
    assert [1] * 6 == held.runs


def test_a_model_that_stops_batching_under_load_goes_on_one_by_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What the probe at load could not see: the outputs of three rows are too short."""
    model = Model("m", models.double(tmp_path / "m.onnx"))
    held = Held(model)
    run = held._run
    held._run = lambda arrays: [each[:2] for each in run(arrays)]
    first = held.occupy(lambda: model(x=0))
    callers = [Caller(lambda i=i: model(x=i)["y"]) for i in range(6)]
    wait_until(lambda: held.opened.queue_depth == 6)
    held.go()
    first.finish()
    assert [0, 2, 4, 6, 8, 10] == [caller.finish() for caller in callers]
    assert "output 'y' has shape [2] for 6 rows" == held.opened.serial_reason
    assert 1 == caplog.text.count("model 'm' runs one item at a time from now on")
    assert [4, 6] == model.batch(x=[2, 3])["y"].tolist()


@pytest.fixture
def late() -> Iterator[None]:
    token = invocation.set(Invocation("f", deadline=time.monotonic() - 1))
    yield
    invocation.reset(token)


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("serve", [True, False])
def test_the_deadline_of_the_event_counts(mlp: Model, serve: bool) -> None:
    opened = Held(mlp).opened if serve else open_alone(mlp)
    with pytest.raises(DeadlineExceeded):
        opened.call({"x": np.zeros(64, np.float32)})


def test_over_the_bound_calls_are_refused(mlp: Model) -> None:
    held = Held(Model("m", mlp.path, max_batch_size=2), queue_rows=4)
    x = np.zeros(64, np.float32)
    first = held.occupy(lambda: held.opened.call({"x": x}))
    callers = [Caller(lambda: held.opened.call({"x": x})) for _ in range(4)]
    wait_until(lambda: held.opened.queue_depth == 4)
    with pytest.raises(Overloaded):
        held.opened.call({"x": x})
    held.go()
    for caller in [first, *callers]:
        caller.finish()


@pytest.mark.parametrize("serve", [True, False])
def test_a_closed_model_takes_no_calls(mlp: Model, serve: bool) -> None:
    opened = Held(mlp).opened if serve else open_alone(mlp)
    opened.close(DEADLINE)
    with pytest.raises(Draining):
        opened.call({"x": np.zeros(64, np.float32)})


def test_100_tasks_share_runs(mlp: Model) -> None:
    held = Held(mlp)
    rows = np.random.default_rng(4).standard_normal((100, 64)).astype(np.float32)

    async def main() -> tuple[list[dict], dict]:
        answers = await asyncio.gather(*(mlp.acall(x=row) for row in rows))
        return answers, await mlp.abatch(x=rows)

    answers, together = asyncio.run(main())
    expected = reference(mlp, rows)
    np.testing.assert_allclose(np.stack([each["logits"] for each in answers]), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(together["logits"], expected, rtol=1e-5, atol=1e-5)
    assert len(held.runs) < 50


@pytest.mark.parametrize("serve", [True, False])
def test_blocking_forms_refuse_an_event_loops_thread(mlp: Model, serve: bool) -> None:
    opened = Held(mlp).opened if serve else open_alone(mlp)
    x = np.zeros(64, np.float32)

    async def main() -> None:
        with pytest.raises(UsageError, match=r"use await model\.acall\(\.\.\.\)"):
            opened.call({"x": x})
        with pytest.raises(UsageError, match=r"use await model\.abatch\(\.\.\.\)"):
            opened.batch({"x": x[None]})
        assert (10,) == (await opened.acall({"x": x}))["logits"].shape

    asyncio.run(main())


def test_every_run_is_observed_with_its_rows_and_seconds(mlp: Model) -> None:
    seen: list[tuple[str, int, float]] = []
    opened = open_served(mlp, folder=Path("/"), observe=lambda *what: seen.append(what))
    assert [] == seen, "the warm-up is nobody's call"
    opened.call({"x": np.zeros(64, np.float32)})
    opened.batch({"x": np.zeros((5, 64), np.float32)})
    assert [("mlp", 1), ("mlp", 5)] == [(name, rows) for name, rows, _ in seen]
    assert all(0 < seconds < 5 for *_, seconds in seen)


def test_a_real_model_is_batchable() -> None:
    model = Model("magika", Path(__file__).parents[2] / "models/magika/model.onnx")
    held = Held(model)
    assert held.opened.serial_reason is None
    (tensor,) = held.opened.inputs
    items = np.random.default_rng(0).integers(0, 256, (16, 2048)).astype(tensor.dtype)
    together = model.batch({tensor.name: items})
    for index, item in enumerate(items):
        for name, value in model({tensor.name: item}).items():
            np.testing.assert_allclose(together[name][index], value, rtol=1e-4, atol=1e-5)
