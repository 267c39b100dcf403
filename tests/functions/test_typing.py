"""What mypy and pyright say about a person's code: handlers keep their exact types."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SAMPLE = """\
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import upon
from cloudevents.core.base import BaseCloudEvent
from upon import Event


@dataclass
class Review:
    text: str


sentiment = upon.Model("sentiment", "sentiment.onnx")
reviews = upon.Topic("reviews")


@upon.resource
def tokenizer() -> Iterator[dict[str, int]]:
    yield {}


@upon.resource
def settings() -> list[str]:
    return []


@upon.kafka("reviews", reply_to="reviews.scored")
@upon.http("POST /score")
@upon.options(timeout=3)
def score(event: Event) -> dict[str, int]:
    return {"label": 1}


@upon.cloudevent(type="t")
def typed(event: Event[Review], limit: int = 3) -> Review:
    words: list[str] = event.data.text.split()
    return Review(words[0])


@upon.cron("* * * * *")
async def refresh() -> None: ...


@upon.batched(max_size=3)
def batch(events: list[Event[Review]]) -> list[Review | None]:
    return [None for event in events]


as_the_sdk_has_it: BaseCloudEvent = Event.of({})


def hand_over(event: Event[Review]) -> BaseCloudEvent:
    return event
"""

# expression, what mypy says, what pyright says (None: the same)
REVEALED: list[tuple[str, str, str | None]] = [
    ("score", "Function[[event: Event[Any]], dict[str, int]]", "Function[(event: Event[Any]), dict[str, int]]"),
    ("score(Event.of({}))", "dict[str, int]", None),
    (
        "typed",
        "Function[[event: Event[Review], limit: int =], Review]",
        "Function[(event: Event[Review], limit: int = 3), Review]",
    ),
    ("refresh", "Function[[], Coroutine[Any, Any, None]]", "Function[(), CoroutineType[Any, Any, None]]"),
    ("batch([])", "list[Review | None]", None),
    ("cast(Event[Review], 0).data", "Review", None),
    ("cast(Event, 0).data", "Any", None),
    ("cast(Event[Review], 0).body", "bytes", None),
    ("tokenizer()", "dict[str, int]", None),
    ("settings()", "list[str]", None),
    ("sentiment(a=[1, 2])['scores'].ndim", "int", None),
    (
        "reviews.send",
        "def (object, *, key: str | bytes | None =)",
        "(data_or_event: object, /, *, key: str | bytes | None = None) -> None",
    ),
    ("Event.of({}).extensions", "dict[str, Any]", None),
]

WRONG = """\
import upon
from upon import Event


@upon.kafka("reviews", ordering="random")
def score(event: Event[int]) -> int:
    return event.data


score("text")
event: Event[int] = Event.of(1)
event.attempt = 2
upon.Topic("a").send(1, key=2)
upon.http("GET /a")(3)
"""


def short(revealed: str) -> str:
    """Without the modules of names, which differ from version to version."""
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Za-z])", "", revealed.removesuffix("?"))


def sample(folder: Path) -> tuple[Path, int]:
    """The file, and the number of the line before its first reveal_type."""
    path = folder / "sample.py"
    path.write_text(SAMPLE + "".join(f"reveal_type({expression})\n" for expression, _, _ in REVEALED))
    return path, SAMPLE.count("\n")


def mypy(path: Path) -> list[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert "" == done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_mypy_sees_exact_types(tmp_path: Path) -> None:
    path, last = sample(tmp_path)
    seen, other = {}, []
    for line in mypy(path):
        if (match := re.fullmatch(r'.*:(\d+): note: Revealed type is "(.*)"', line)) is not None:
            seen[int(match[1]) - last - 1] = short(match[2])
        else:
            other.append(line)
    assert {n: mypys for n, (_, mypys, _) in enumerate(REVEALED)} == seen
    assert [] == other


@pytest.mark.slow
def test_mypy_finds_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text(WRONG)
    assert [5, 10, 12, 13, 14] == sorted({int(line.split(":")[1]) for line in mypy(path) if ": error:" in line})


@pytest.mark.slow
def test_pyright_sees_exact_types(tmp_path: Path) -> None:
    path, last = sample(tmp_path)
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
    if not done.stdout.startswith("{"):
        pytest.skip("pyright can't start: run `pyright --version` once with a network")
    found = json.loads(done.stdout)["generalDiagnostics"]
    seen = {}
    for each in found:
        if (match := re.fullmatch(r'Type of ".*" is "(.*)"', each["message"], re.DOTALL)) is not None:
            seen[each["range"]["start"]["line"] - last] = short(match[1])
    assert {n: pyrights or mypys for n, (_, mypys, pyrights) in enumerate(REVEALED)} == seen
    assert [] == [each["message"] for each in found if each["severity"] == "error"]
