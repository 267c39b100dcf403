"""Commands that a wheel brings: entry points become small scripts, its own scripts find the environment's Python."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SECTIONS = ("console_scripts", "gui_scripts")
_REFERENCE = re.compile(r"(?P<module>\w+(?:\.\w+)*)\s*:\s*(?P<object>\w+(?:\.\w+)*)\s*(?:\[[^]]*\]\s*)?")
_SHEBANG = re.compile(rb"#!python(w?)(?=[ \r\n]|$)")
_SCRIPT = """\
#!{python}
import sys

from {module} import {first}

if __name__ == "__main__":
    sys.exit({object}())
"""


def command_scripts(entry_points: str, python: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each command in an entry_points.txt. python: the interpreter's path in the image.

    Raises ValueError for one that can't be a file of the bin folder, or that names no function.
    """
    for name, reference in sorted(_commands(entry_points).items()):
        found = _REFERENCE.fullmatch(reference)
        if found is None or "/" in name or name in ("", ".", "..") or not name.isprintable():
            raise ValueError(f"{name} = {reference}")
        first = found["object"].partition(".")[0]
        text = _SCRIPT.format(python=python, module=found["module"], first=first, object=found["object"])
        yield name, text.encode()


def own_script(content: bytes, python: str) -> bytes:
    """A wheel's script whose first line asks for whichever Python it is installed for."""
    return _SHEBANG.sub(b"#!" + python.encode(), content, count=1) if _SHEBANG.match(content) else content


def _commands(text: str) -> dict[str, str]:
    section, found = "", {}
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section in _SECTIONS and line and line[0] not in "#;":
            name, _, reference = line.partition("=")
            found[name.strip()] = reference.strip()
    return found
