"""Two packages that would write one file: the one that comes last would win, and the other one break."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from upon_build.image.packages.wheel import Environment, installed_files
from upon_build.image.packages.wheelfile import read_wheel
from upon_build.project.problems import Problem, ProjectError

if TYPE_CHECKING:
    from upon_build.lock.wheels import Wheel

WHERE = "func.lock"
SHOWN = 3  # files of two packages
# At the top of site-packages, by mistake and in many wheels: nothing imports them in an image.
_STRAY = frozenset({"benchmarks", "doc", "docs", "example", "examples", "test", "tests"})
_PAPERS = ("changelog", "changes", "copying", "license", "licence", "notice", "readme")


def check_conflicts(wheels: Sequence[Wheel], where: Environment, skeleton: Iterable[str]) -> None:
    """Raise ProjectError where two wheels have different content for one path, or a file where another has a folder.

    skeleton: the paths of the virtual environment's own files, which are no wheel's.
    """
    claims = _Claims()
    for path in skeleton:
        claims.add(path, "", "the virtual environment")
    found: dict[tuple[str, str], list[str]] = {}
    for wheel in wheels:
        for file in installed_files(read_wheel(wheel.path), where):
            other = claims.add(file.path, file.hash, wheel.name)
            if other is not None and not _is_stray(file.path, where):
                found.setdefault((other, wheel.name), []).append(file.path)
    if found:
        raise ProjectError([_problem(one, other, paths) for (one, other), paths in sorted(found.items())])


class _Claims:
    """Whose each path is: the first one's that came with it."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, str]] = {}  # owner, hash
        self._folders: dict[str, str] = {}

    def add(self, path: str, content: str, owner: str) -> str | None:
        """Who else has something different there."""
        there = self._files.setdefault(path, (owner, content))
        if there[1] != content:
            return there[0]
        if path in self._folders:
            return self._folders[path]
        for folder in _parents(path):
            if folder in self._files:
                return self._files[folder][0]
            if folder in self._folders:
                break
            self._folders[folder] = owner
        return None


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _is_stray(path: str, where: Environment) -> bool:
    top, _, rest = path.removeprefix(f"{where.packages}/").partition("/")
    return top in _STRAY if rest else top.lower().startswith(_PAPERS)


def _problem(one: str, other: str, paths: list[str]) -> Problem:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    message = f"{one} and {other} have different content for {', '.join(paths[:SHOWN])}{more}"
    return Problem("error", WHERE, message, "one would break the other: leave one of them out, and run `func lock`")
