"""A newcomer's first minute: `func create`, `check`, `pytest`, `run` and `invoke`, all as real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from support.func import environment, func, running
from upon_build.cli.create import TEMPLATES

SETOSA = '{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}'


@pytest.fixture(scope="module", params=list(TEMPLATES))
def created(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("create")
    done = func("create", "demo", "--template", request.param, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "demo"


def test_a_created_project_checks_without_a_problem(created: Path) -> None:
    done = func("check", "-o", "json", cwd=created)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert len(found["functions"]) == 1


def test_a_created_project_passes_its_own_tests(created: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=created, env=environment(), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_a_created_project_runs_and_ends_cleanly(created: Path) -> None:
    with running(cwd=created) as run:
        with urllib.request.urlopen(f"{run.url}/health/readiness", timeout=10) as response:
            assert response.status == 200
        assert run.stop(signal.SIGINT) == 0


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    func("create", "demo", "--template", "onnx", cwd=folder)
    return folder / "demo"


def test_onnx_gives_a_prediction(onnx: Path) -> None:
    with running(cwd=onnx) as run:
        done = func("invoke", "--url", run.url, "--data", SETOSA, "-o", "json", cwd=onnx)

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == 200
    assert answer["event"]["data"]["label"] == "setosa"
    assert answer["event"]["data"]["probabilities"]["setosa"] > 0.9


def test_onnx_check_tells_inputs_and_outputs(onnx: Path) -> None:
    (model,) = json.loads(func("check", "-o", "json", cwd=onnx).stdout)["models"]

    assert model["inputs"] == [{"name": "measurements", "dtype": "float32", "shape": ["N", 4]}]
    assert [output["name"] for output in model["outputs"]] == ["label", "probabilities"]


def test_kafka_answers_on_the_reply_topic(tmp_path: Path) -> None:
    func("create", "shop", "--template", "kafka", cwd=tmp_path)
    project = tmp_path / "shop"

    with running(cwd=project) as run:
        assert run.ready["embedded"] is True
        sent = func("events", "send", "orders", "--key", "7", "--data", '{"item": "apple", "count": 4}', cwd=project)
        assert sent.returncode == 0, sent.stderr
        replies = func(
            "events", "tail", "orders.priced", "--from-beginning", "-n", "1", "--timeout", "20", "-o", "json",
            cwd=project,
        )  # fmt: skip

    assert replies.returncode == 0, replies.stderr
    reply = json.loads(replies.stdout)
    assert reply["key"] == "7"
    assert reply["event"]["data"] == {"item": "apple", "total": 2.0}
    assert reply["event"]["type"] == "shop.price.reply"


def test_cron_ticks_once_at_start_when_told_to(tmp_path: Path) -> None:
    func("create", "clock", "--template", "cron", cwd=tmp_path)

    with running("--tick", cwd=tmp_path / "clock") as run:
        assert run.event("ticked")["functions"] == ["refresh"]
        assert run.event("handled")["trigger"] == "cron"
