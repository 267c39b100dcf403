"""What is wrong with a project, as values: all of it at once, each with its place and a remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Literal, TypeAlias

from upon import UsageError

Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault. location: `func.yaml:12`, `reviews.py:8` or a variable's name. remedy: may be empty."""

    severity: Severity
    location: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.location, self.message, self.remedy) if part)

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


class ProjectError(UsageError):
    """The project can't be used as it is; `problems` says why, the message is their lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def fail(location: str, message: str, remedy: str = "") -> ProjectError:
    """A ProjectError of one problem, to raise."""
    return ProjectError([Problem("error", location, message, remedy)])


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean 'reviews'?`, or what there is, or nothing where there is nothing."""
    choices = sorted(set(known))
    near = get_close_matches(name, choices, 1, 0.6) or _same_letters(name, choices)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there is {', '.join(choices[:12])}{', …' if len(choices) > 12 else ''}" if choices else ""


def _same_letters(name: str, choices: list[str]) -> list[str]:
    """Another spelling of the same words: max_in_flight for maxInFlight."""
    plain = name.replace("_", "").replace("-", "").lower()
    return [c for c in choices if c.replace("_", "").replace("-", "").lower() == plain]
