"""`{{ secret:name:key }}` and `{{ configMap:name:key }}`, resolved on this machine.

Where a value comes from, in this order, for secret `hub` and key `token`:

1. the process environment: `HUB_TOKEN` (a shell can't set a name with a dot);
2. `.env` beside func.yaml: `hub.token=...`, then `HUB_TOKEN=...`, then `token=...`.

Values never stand in a message, a repr or the output of `func check`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upon_build.project.problems import Problem, ProjectError, fail

REFERENCE = re.compile(r"\{\{\s*(secret|configMap):([^:{}\s]+):([^:{}\s]+)\s*\}\}")
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*=\s*(.*?)\s*\Z")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


class Environment(dict[str, str]):
    """Variables whose values are not shown by repr."""

    def __repr__(self) -> str:
        return f"Environment({', '.join(sorted(self))})"


def is_reference(value: str) -> bool:
    return "{{" in value


def variable_name(name: str, key: str) -> str:
    """`hub`, `token` -> `HUB_TOKEN`"""
    return re.sub(r"\W", "_", f"{name}_{key}").upper()


class Secrets:
    """Resolves references for the project in one folder. The `.env` file is read at first need."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.path = folder / ".env"
        self._environ = environ
        self._file: Environment | None = None

    def __repr__(self) -> str:
        return f"Secrets({str(self.path)!r})"

    def resolve(self, value: str, location: str, what: str) -> str:
        """The value with its references replaced. Raises ProjectError that names the variable and the file."""
        rest = REFERENCE.sub("", value)
        if "{{" in rest or "}}" in rest:
            remedy = "write {{ secret:name:key }} or {{ configMap:name:key }}"
            raise fail(location, f"{what} holds braces that are no reference", remedy)
        return REFERENCE.sub(lambda match: self._find(match[1], match[2], match[3], location, what), value)

    def resolve_all(self, values: Mapping[str, tuple[str, str]]) -> Environment:
        """{name: (value, location)} resolved; raises one ProjectError for everything that is missing.

        A variable that the process environment has already keeps that value: this is how it arrives in a cluster.
        """
        found = Environment()
        problems: list[Problem] = []
        for name, (value, location) in values.items():
            try:
                found[name] = self._environ[name] if name in self._environ else self.resolve(value, location, name)
            except ProjectError as error:
                problems += error.problems
        if problems:
            raise ProjectError(problems)
        return found

    def _find(self, sort: str, name: str, key: str, location: str, what: str) -> str:
        variable = variable_name(name, key)
        if variable in self._environ:
            return self._environ[variable]
        if self._file is None:
            self._file = read_env(self.path)
        for candidate in (f"{name}.{key}", variable, key):
            if candidate in self._file:
                return self._file[candidate]
        problem = Problem(
            "error",
            location,
            f"{what} needs {sort} {name!r}, key {key!r}, which is neither {variable} in the environment nor in"
            f" {self.path}",
            f"add the line `{name}.{key}=...` to {self.path.name}, or set {variable}",
        )
        raise ProjectError([problem])


def read_env(path: Path) -> Environment:
    """`NAME=value` lines with comments, quotes and `export`. No file is no variables; a bad line is a ProjectError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Environment()
    except (OSError, UnicodeDecodeError) as error:
        raise fail(path.name, f"the file can't be read: {type(error).__name__}", "make it a UTF-8 text file") from None
    found = Environment()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise fail(f"{path.name}:{number}", "the line is not NAME=value", "begin comments with #")
        found[match[1]] = _unquote(match[2])
    return found


def _unquote(value: str) -> str:
    quoted: Any = re.match(r"'([^']*)'\s*(?:#.*)?\Z", value)
    if quoted:
        return str(quoted[1])
    quoted = re.match(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?\Z', value)
    if quoted:
        return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), quoted[1])
    return re.sub(r"\s+#.*\Z", "", value)
