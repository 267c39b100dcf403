"""The patterns of .gitignore, for a walk that asks folder by folder, from the top down.

A pattern is only ever compared with the entry itself, as Git does it: libraries that compare whole paths let a pattern
for a folder above decide a second time, and so bring back what Git leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "digit": "0-9",
    "lower": "a-z",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line, counted from 1. regex: compared with the whole path where `anchored`, else with the name alone."""

    line: int
    leaves_out: bool
    only_folders: bool
    anchored: bool
    regex: re.Pattern[str]


def read_patterns(lines: Sequence[str]) -> list[Pattern]:
    """As in Git, comments, empty lines and what can match nothing (an open bracket) are left out."""
    found = (_pattern(number, line) for number, line in enumerate(lines, 1))
    return [pattern for pattern in found if pattern is not None]


def decide(patterns: Sequence[Pattern], path: str, name: str, *, is_folder: bool) -> Pattern | None:
    """The last pattern that matches. path: from the top, with slashes, and with this name at its end."""
    for pattern in reversed(patterns):
        if (is_folder or not pattern.only_folders) and pattern.regex.fullmatch(path if pattern.anchored else name):
            return pattern
    return None


def _pattern(number: int, line: str) -> Pattern | None:
    if line.startswith("#"):
        return None
    text = _without_trailing_spaces(line)
    negated = text.startswith("!")
    text = text[1:] if negated else text
    only_folders = text.endswith("/")
    text = text[:-1] if only_folders else text
    anchored = "/" in text
    source = _translate(text.removeprefix("/"))
    if not source:
        return None
    return Pattern(number, not negated, only_folders, anchored, re.compile(source, re.DOTALL))


def _without_trailing_spaces(line: str) -> str:
    """A space after a backslash stays."""
    text = line.rstrip(" ")
    backslashes = len(text) - len(text.rstrip("\\"))
    return text + " " if backslashes % 2 and len(text) < len(line) else text


def _translate(glob: str) -> str | None:
    """A regular expression; None where nothing can match."""
    parts: list[str] = []
    at = 0
    while at < len(glob):
        match glob[at]:
            case "*":
                part, at = _stars(glob, at)
            case "?":
                part, at = "[^/]", at + 1
            case "[":
                part, at = _bracket(glob, at)
            case "\\":
                part, at = re.escape(glob[at + 1 : at + 2]), at + 2
            case other:
                part, at = re.escape(other), at + 1
        if not part:
            return None
        parts.append(part)
    return "".join(parts)


def _stars(glob: str, begin: int) -> tuple[str, int]:
    """`**` between slashes is any number of folders; any other row of stars is one."""
    end = begin
    while glob[end : end + 1] == "*":
        end += 1
    whole = end - begin > 1 and glob[begin - 1 : begin] in ("", "/") and glob[end : end + 1] in ("", "/")
    if not whole:
        return "[^/]*", end
    return (".+", end) if end == len(glob) else ("(?:.*/)?", end + 1)


def _bracket(glob: str, begin: int) -> tuple[str, int]:
    """A set of characters, of which a slash is never one; an empty text where it is not closed."""
    at = begin + 1
    negated = glob[at : at + 1] in ("!", "^")
    at += negated
    ranges: list[str] = []
    first = at
    while at < len(glob) and (glob[at] != "]" or at == first):
        if named := re.compile(r"\[:([a-z]*):\]").match(glob, at):
            if named[1] not in _CLASSES:
                return "", at
            ranges.append(_CLASSES[named[1]])
            at = named.end()
            continue
        low, at = _character(glob, at)
        high = low
        if glob[at : at + 1] == "-" and glob[at + 1 : at + 2] not in ("", "]"):
            high, at = _character(glob, at + 1)
        ranges.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else re.escape(low))
    if at >= len(glob):
        return "", at
    inside = "".join(ranges)
    if negated:
        return f"[^/{inside}]", at + 1
    return f"(?!/)[{inside}]", at + 1


def _character(glob: str, at: int) -> tuple[str, int]:
    escaped = glob[at] == "\\" and at + 1 < len(glob)
    return glob[at + escaped], at + 1 + escaped
