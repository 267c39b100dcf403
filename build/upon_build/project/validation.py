"""Reads a tree of YAML values by the schema: what is good comes back in our terms, the rest becomes problems."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from upon_build.labels import as_label
from upon_build.project.kinds import Kind, ListOf, MapOf, Table
from upon_build.project.problems import Severity, did_you_mean

Path: TypeAlias = tuple[str | int, ...]
Report: TypeAlias = Callable[[Severity, Path, str, str], None]
WRONG: Any = object()


def read(kind: Kind, value: Any, path: Path, report: Report, *, partial: bool = False) -> Any:
    """The value in our terms, or WRONG after at least one error; a key without a value counts as not there.

    Unknown keys are warnings, and left out. partial: required keys may be missing (a profile).
    """
    match kind:
        case Table():
            return _read_table(kind, value, path, report, partial)
        case MapOf():
            return _read_map(kind, value, path, report)
        case ListOf():
            return _read_list(kind, value, path, report)
    try:
        return kind.read(value)
    except ValueError:
        return _wrong(kind, value, path, report)


def show(path: Path) -> str:
    """`run.envs[0].value`"""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _wrong(kind: Kind, value: Any, path: Path, report: Report) -> Any:
    shown = "that" if kind.secret else shorten(value)
    report("error", path, f"{show(path)} must be {kind.what()}, not {shown}", _remedy(kind, value))
    return WRONG


def shorten(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "a list" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _remedy(kind: Kind, value: Any) -> str:
    if kind.secret:
        return ""
    if isinstance(value, (bool, int, float)) and _takes(kind, str(value)):
        return f'put it in quotes: "{value}"'
    if not isinstance(value, str):
        return ""
    choices = getattr(kind, "choices", ())
    if len(choices) == 1:
        return ""
    if choices:
        near = did_you_mean(value, choices)
        return near if near.startswith("did") else ""
    tries = [value.strip(), as_label(value)] if type(kind).__name__ == "Text" else [_number(value)]
    good = [t for t in tries if t != value and t is not None and _takes(kind, t)]
    return f"write {good[0]}" if good else ""


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _takes(kind: Kind, value: Any) -> bool:
    if isinstance(kind, (Table, MapOf, ListOf)):
        return False
    try:
        kind.read(value)
    except ValueError:
        return False
    return True


def _read_table(kind: Table, value: Any, path: Path, report: Report, partial: bool) -> Any:
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        return _wrong(kind, value, path, report)
    found: dict[str, Any] = {}
    for name, part in value.items():
        if name not in kind.fields:
            _unknown(kind, name, (*path, name), report)
        elif part is not None:
            one = read(kind.fields[name], part, (*path, name), report)
            if one is not WRONG:
                found[name] = one
    required = [] if partial else [name for name, part in kind.fields.items() if part.required]
    for name in required:
        if value.get(name) is None:
            remedy = f"add `{name}:`, {kind.fields[name].what()}"
            report("error", (*path, name), f"{show((*path, name))} is missing", remedy)
    # Half of an entry is no entry; half of a project still says a lot.
    return WRONG if path and not set(required) <= set(found) else found


def _unknown(kind: Table, name: Any, path: Path, report: Report) -> None:
    if isinstance(name, str) and name.startswith("x-"):
        return
    shown = show((*path[:-1], str(name)))
    report("warning", path, f"{shown} is not a known key", did_you_mean(str(name), kind.fields))


def _read_map(kind: MapOf, value: Any, path: Path, report: Report) -> Any:
    if not isinstance(value, Mapping):
        return _wrong(kind, value, path, report)
    found: dict[str, Any] = {}
    for name, part in value.items():
        if not isinstance(name, str):
            report("error", (*path, name), f"{show(path)} has the key {name!r}", "put it in quotes")
            continue
        one = read(kind.item, part, (*path, name), report, partial=True)
        if one is not WRONG:
            found[str(name)] = one
    return found


def _read_list(kind: ListOf, value: Any, path: Path, report: Report) -> Any:
    if isinstance(value, str) and kind.or_one:
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) < kind.minimum:
        return _wrong(kind, value, path, report)
    found = [read(kind.item, part, (*path, index), report) for index, part in enumerate(value)]
    return [one for one in found if one is not WRONG]
