"""func.yaml as a file: its values, the line of each, and edits that leave everything else as it was."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from upon_build.project.problems import ProjectError, fail
from upon_build.project.validation import Path as Keys

NAME = "func.yaml"
MAX_SIZE = 2**18  # bytes


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """A func.yaml that could be parsed. data: as it stands there, positions included."""

    path: Path
    data: Mapping[str, Any]

    def line(self, keys: Keys) -> int:
        """The line (from 1) of a key or list entry, or of what is around it where it is not there."""
        node: Any = self.data
        line = 1
        for key in keys:
            try:
                line = (node.lc.item(key) if isinstance(key, int) else node.lc.key(key))[0] + 1
                node = node[key]
            except (KeyError, IndexError, TypeError, AttributeError):  # not there, or merged in with `<<`
                break
        return line

    def location(self, keys: Keys) -> str:
        return f"{self.path.name}:{self.line(keys)}"


def find_file(where: Path) -> Path:
    """The func.yaml that a folder or file stands for. Raises ProjectError where there is none."""
    path = where if where.name and not where.is_dir() else where / NAME
    if path.suffix == ".py":
        raise fail(str(path), "this is not a project", f"name the folder with the {NAME} that lists it")
    if path.is_file():
        return path
    folder = path.parent.resolve()
    if path.name != NAME:
        raise fail(str(path), "there is no such file", f"name a folder with a {NAME}, or the file itself")
    if path.exists():
        raise fail(NAME, f"{path} is not a file", f"put the project's {NAME} there")
    raise fail(NAME, f"there is no {NAME} in {folder}", "go to a project's folder, or make one with `func create NAME`")


def read_file(path: Path) -> ProjectFile:
    """Parse a func.yaml. Raises ProjectError with one problem for whatever is not a YAML mapping."""
    data = _parse(path.name, _text(path))
    if data is None:
        raise fail(path.name, "the file is empty", "begin with `name: NAME` and `functions: [FILE.py]`")
    if not isinstance(data, Mapping):
        raise fail(f"{path.name}:1", "the file must be a mapping", "begin with `name: NAME` and `functions: [FILE.py]`")
    return ProjectFile(path, data)


def set_value(path: Path, keys: Sequence[str | int], value: Any) -> None:
    """Set one value and rewrite the file; comments, order, quotes and unknown keys stay.

    A value that is there already is replaced in its place; a new key goes to the end of its mapping. Mappings on
    the way are made. Raises ProjectError where the way leads through something else.
    """
    text = _text(path)
    _parse(path.name, text)
    changed = _replace_scalar(text, keys, value)
    if changed is None:
        changed = _dump_with(path, text, keys, value)
    _write(path, changed)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise fail(str(path), f"the file can't be read: {error.strerror}") from None
    if len(content) > MAX_SIZE:
        raise fail(path.name, f"the file is larger than {MAX_SIZE} bytes", "move data out of it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise fail(f"{path.name}:{line}", "the file is not UTF-8", "save it as UTF-8") from None


def _parse(name: str, text: str) -> Any:
    try:
        return _yaml().load(text)
    except YAMLError as error:
        raise _syntax_error(name, error) from None
    except RecursionError:
        raise fail(name, "the file is nested too deep") from None


def _yaml() -> YAML:
    yaml = YAML()  # round trip: keeps comments, quotes and positions
    yaml.preserve_quotes = True
    yaml.width = 4096
    return yaml


def _syntax_error(name: str, error: YAMLError) -> ProjectError:
    mark = getattr(error, "problem_mark", None)
    place = f"{name}:{mark.line + 1}" if mark is not None else name
    if isinstance(error, DuplicateKeyError):
        match = re.search(r'duplicate key "(.*?)" with', error.problem or "")
        return fail(place, f"the key {match[1] if match else '?'!r} stands twice in one mapping", "keep one")
    problem = error.problem if isinstance(error, MarkedYAMLError) else str(error).splitlines()[0]
    if problem and problem.startswith("but "):  # the second half of a sentence
        problem = f"{getattr(error, 'context', '')}, {problem}"
    where = f" in column {mark.column + 1}" if mark is not None else ""
    remedies = {
        "mapping values are not allowed here": "put a value that holds ': ' in quotes, and check the indentation",
        "found character '\\t' that cannot start any token": "indent with spaces, not tabs",
        "expected a single document in the stream, but found another document": "remove `---` and what follows",
    }
    remedy = remedies.get(problem or "", "check brackets, quotes and indentation")
    return fail(place, f"not YAML: {problem}{where}", remedy)


def _replace_scalar(text: str, keys: Sequence[str | int], value: Any) -> str | None:
    """The text with just this value's characters changed; None where there is no one-line plain value yet."""
    if isinstance(value, (dict, list)):
        return None
    node = _yaml().compose(text)
    for key in keys:
        node = _child(node, key)
        if node is None:
            return None
    start, end = node.start_mark, node.end_mark
    if node.id != "scalar" or start.line != end.line or start.index == end.index:
        return None
    if node.anchor or text[start.index] in "*&!|>":
        return None
    return text[: start.index] + _scalar(value) + text[end.index :]


def _child(node: Any, key: str | int) -> Any:
    if node.id == "mapping":
        return next((value for name, value in node.value if name.value == key), None)
    if node.id == "sequence" and isinstance(key, int) and key < len(node.value):
        return node.value[key]
    return None


def _scalar(value: Any) -> str:
    """As it can stand anywhere, in a flow mapping too."""
    out = StringIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.default_flow_style = True
    yaml.dump([value], out)
    return out.getvalue().strip()[1:-1]


def _dump_with(path: Path, text: str, keys: Sequence[str | int], value: Any) -> str:
    yaml = _yaml()
    yaml.indent(**_indentation(text))
    data = _parse(path.name, text)
    node = data
    for index, key in enumerate(keys[:-1]):
        if isinstance(node, dict) and node.get(key) is None:
            node[key] = {}
        node = _enter(path, node, keys[: index + 1])
    try:
        node[keys[-1]] = value
    except (IndexError, TypeError):
        _enter(path, node, keys)
        raise
    out = StringIO()
    yaml.dump(data, out)
    return out.getvalue().replace("\n", "\r\n") if "\r\n" in text else out.getvalue()


def _enter(path: Path, node: Any, keys: Sequence[str | int]) -> Any:
    try:
        return node[keys[-1]]
    except (KeyError, IndexError, TypeError):
        way = ".".join(map(str, keys))
        raise fail(path.name, f"{way} can't be set: what is around it is no mapping or list that holds it") from None


def _indentation(text: str) -> dict[str, int]:
    """How the file indents lists, so that a rewrite does not move them."""
    match = re.search(r"^( *)[\w-]+:[ ]*(?:#.*)?\n(?:\s*(?:#.*)?\n)*( *)- ", text, re.MULTILINE)
    offset = len(match[2]) - len(match[1]) if match else 0
    return {"mapping": 2, "sequence": offset + 2, "offset": offset}


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(text.encode())
        fresh.chmod(path.stat().st_mode & 0o777)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
