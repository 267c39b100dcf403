"""The example that `make run` starts: a schedule, a topic, a model and a web address, each seen working.

The expected labels were made by the package magika 1.0.3 itself; the example has its own way of reading a file.
"""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.func import Running, environment, running
from support.pages import BIN, free_port
from support.records import collect, replies
from support.terminal import on_terminal
from upon import Done
from upon.testing import Client

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = {path.name: path.read_bytes() for path in sorted((ROOT / "examples/samples").iterdir())}
EXPECTED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "magika_expected.json").read_text())


def same(expected: dict[str, Any], found: dict[str, Any]) -> bool:
    close = abs(expected["score"] - found["score"]) < 0.005  # the last digit depends on the processor
    return close and {**expected, "score": 0} == {**found, "score": 0}


def wrong(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What differs from the expected labels; a missing file differs."""
    right = {name for name in found if same(EXPECTED[name], found[name])}
    return {name: found.get(name, {}) for name in EXPECTED.keys() - right}


def post(url: str, body: bytes) -> dict[str, Any]:
    with urllib.request.urlopen(urllib.request.Request(f"{url}/identify", body), timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def rows_and_runs(url: str) -> tuple[int, int]:
    """Rows inferred and session runs so far, from the batch-size histogram."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        page = answer.read().decode()
    found = dict(re.findall(r"^upon_inference_batch_size_(sum|count)\{[^}]*\} (\S+)", page, re.MULTILINE))
    return int(float(found.get("sum", 0))), int(float(found.get("count", 0)))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("examples", "models"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("func.yaml", "Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(ROOT / "func.yaml") as opened:
        yield opened


def test_there_are_labels_for_all_samples() -> None:
    assert set(SAMPLES) == set(EXPECTED)
    assert len(SAMPLES) > 20


def test_a_tick_becomes_records_and_records_become_labels(client: Client) -> None:
    assert isinstance(client.tick("publish"), Done)
    assert list(SAMPLES) == [str(record.event.subject) for record in client.kafka.records("files")]
    typed = {str(record.event.subject): record.data for record in client.kafka.records("files.typed")}
    assert {} == wrong(typed)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_posted_file(client: Client, name: str) -> None:
    assert same(EXPECTED[name], client.http.post("/identify", data=SAMPLES[name]).json)


def test_nothing_posted_is_refused_with_a_reason(client: Client) -> None:
    answer = client.http.post("/identify", data=b" \n")
    assert 400 == answer.status_code
    assert "there is nothing to look at: post a file" == answer.json["detail"]


@pytest.fixture
def live(project: Path) -> Iterator[Running]:
    with running("--tick", cwd=project) as found:
        yield found


@pytest.mark.timeout(120)
def test_live_from_the_schedule_to_the_topic_and_over_http(live: Running) -> None:
    with replies(live.ready["kafka"], "files.typed", embedded=True) as fetch:
        typed = collect(fetch, len(SAMPLES), timeout=60)
    assert {} == wrong({attributes["subject"]: data for attributes, data in typed})
    rows, runs = rows_and_runs(live.url)
    assert rows >= len(SAMPLES)  # more when a full minute came by
    assert runs <= rows / 2  # the topic is scored in batches

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda name: post(live.url, SAMPLES[name]), list(SAMPLES) * 8))
    assert {} == wrong(dict(zip(list(SAMPLES) * 8, answers, strict=True)))
    more_rows, more_runs = rows_and_runs(live.url)
    assert more_rows - rows >= 8 * len(SAMPLES)
    assert more_runs - runs < 8 * len(SAMPLES)  # requests that came together shared runs
    assert 0 == live.stop()


@pytest.mark.timeout(120)
def test_make_run_shows_the_way_and_ends_cleanly_on_ctrl_c(project: Path) -> None:
    command = ["make", "-s", "-o", "setup-all", f"BIN={BIN}", f"ARGS=--port {free_port()}", "run"]
    kept = {name: value for name, value in environment().items() if not name.startswith("MAKE")}
    with on_terminal(command, cwd=project, env=kept) as terminal:
        terminal.wait_for("→ files.typed", timeout=60)
        assert 0 == terminal.ctrl_c()
    shown = terminal.text
    assert "(--tick fires the schedule at once" in shown
    assert "curl --data-binary @README.md localhost:8080/identify" in shown
    assert "func events tail files.typed" in shown
    assert re.search(r"cron +publish +tick +done", shown)
    assert re.search(r"kafka +identify_batch +files\[.*\] \(\d+ records\) +done", shown)
    assert "stopped" in shown.splitlines()[-1]
