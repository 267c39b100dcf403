from __future__ import annotations

import builtins
import io
from typing import Any

import pytest

from upon_build.registry.progress import Bars, Lines, Progress, progress_on, shown


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_over_soon_says_nothing() -> None:
    stream = io.StringIO()
    lines = Lines(stream, lambda: 0.0)
    task = lines.begin("pushing abc", 100)
    lines.advance(task, 100)
    lines.end(task)
    assert "" == stream.getvalue()


def test_what_takes_long_has_a_line_every_five_seconds() -> None:
    stream, now = io.StringIO(), [0.0]
    lines = Lines(stream, lambda: now[0])
    first, second = lines.begin("pushing abc", 4096), lines.begin("pushing def", 10)
    for seconds, done in ((1.0, 1024), (5.0, 1024), (6.0, 1024), (10.5, -1024)):
        now[0] = seconds
        lines.advance(first, done)
    lines.end(second)
    assert "pushing abc: 2.0 KiB of 4.0 KiB\npushing abc: 2.0 KiB of 4.0 KiB\n" == stream.getvalue()


def _transfer(progress: Progress) -> None:
    task = progress.begin("pushing [abc]", 2**20)
    progress.advance(task, 2**20)
    progress.end(task)


def test_a_terminal_has_bars() -> None:
    screen = Screen()
    with progress_on(screen) as progress:
        assert isinstance(progress, Bars)
        _transfer(progress)


def test_a_terminal_without_rich_and_everything_else_have_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    with progress_on(io.StringIO()) as progress:
        assert isinstance(progress, Lines)
    imported = builtins.__import__

    def without_rich(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("rich"):
            raise ImportError(name)
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_rich)
    with progress_on(Screen()) as progress:
        assert isinstance(progress, Lines)
        _transfer(progress)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (2**20, "1.0 MiB"),
        (3 * 2**30, "3.0 GiB"),
        (2**42, "4096.0 GiB"),
    ],
)
def test_bytes_for_people(count: int, expected: str) -> None:
    assert expected == shown(count)
