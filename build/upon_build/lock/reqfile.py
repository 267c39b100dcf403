"""requirements.txt: its requirements, the files it includes, and a clear word on what an image can't take."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from upon_build.lock.requirement import hide_credentials, read_line
from upon_build.project.problems import fail

if TYPE_CHECKING:
    from packaging.requirements import Requirement

NAME = "requirements.txt"
MAX_SIZE = 2**20  # bytes

_INDEX = "where packages come from is this machine's setting, not the project's"
_OPTION = re.compile(r"(-{1,2}[A-Za-z-]+)[=\s]*(.*)", re.DOTALL)
_SHORT = {"-r": "--requirement", "-c": "--constraint", "-i": "--index-url", "-f": "--find-links", "-e": "--editable"}
_HARMLESS = {"--prefer-binary", "--only-binary", "--require-hashes"}
_REFUSED = {
    "--index-url": (_INDEX, "remove the line and set UV_DEFAULT_INDEX or PIP_INDEX_URL"),
    "--extra-index-url": (_INDEX, "remove the line and set UV_INDEX or PIP_EXTRA_INDEX_URL"),
    "--find-links": (_INDEX, "remove the line and set UV_FIND_LINKS or PIP_FIND_LINKS"),
    "--trusted-host": (_INDEX, "remove the line and set UV_INSECURE_HOST or PIP_TRUSTED_HOST"),
    "--no-index": (_INDEX, "remove the line and set PIP_NO_INDEX"),
    "--editable": ("an image needs wheels from an index", "publish a wheel, or put its code beside func.yaml"),
    "--no-binary": ("an image needs wheels, nothing is compiled for it", "remove the line"),
    "--pre": ("it would let every package be a pre-release", "write 'name>=1.0rc1' where you want one"),
}


@dataclass(slots=True)
class Listed:
    """What the files say. hashes: by package, the SHA-256 sums that its files may have."""

    requirements: list[Requirement] = field(default_factory=list)
    constraints: list[Requirement] = field(default_factory=list)
    hashes: dict[str, set[str]] = field(default_factory=dict)
    files: set[tuple[Path, bool]] = field(default_factory=set)  # that were read, and whether as constraints


def read_requirements_file(folder: Path, name: str = NAME) -> Listed:
    """Read the file and what it includes. Raises ProjectError with the line for what an image can't take."""
    listed = Listed()
    _read(folder.resolve(), folder.resolve() / name, NAME, listed, constraint=False)
    return listed


def _read(folder: Path, path: Path, where: str, listed: Listed, *, constraint: bool) -> None:
    inside = path.resolve()
    if (inside, constraint) in listed.files:
        return
    listed.files.add((inside, constraint))
    if not inside.is_relative_to(folder):
        raise fail(where, f"{path.name!r} is outside the project's folder", "copy it beside func.yaml")
    shown = inside.relative_to(folder).as_posix()
    for number, line in _lines(_text(inside, where, shown)):
        place = f"{shown}:{number}"
        if not line.startswith("-"):
            _add(line, place, listed, constraint=constraint)
            continue
        option, value = _option(line, place)
        if option in ("--requirement", "--constraint"):
            if not value:
                raise fail(place, f"{line!r} names no file")
            inner = constraint or option == "--constraint"
            _read(folder, inside.parent / value, place, listed, constraint=inner)


def _add(line: str, place: str, listed: Listed, *, constraint: bool) -> None:
    from packaging.utils import canonicalize_name

    text, *options = re.split(r"\s+(?=--[a-z])", line)
    requirement = read_line(text.strip(), place)
    (listed.constraints if constraint else listed.requirements).append(requirement)
    for option in options:
        found = re.fullmatch(r"--hash[=\s]sha256:([0-9a-fA-F]{64})", option.strip())
        if found:
            listed.hashes.setdefault(canonicalize_name(requirement.name), set()).add(found[1].lower())
        else:
            raise fail(place, f"{option!r} is not understood here", "of a requirement's options, --hash=sha256:… is")


def _option(line: str, place: str) -> tuple[str, str]:
    found = _OPTION.match(line)
    name = found[1] if found else line
    if re.match("-[a-z][^-]", name) and not name.startswith("--"):  # -rother.txt
        name = name[:2]
    value = line[len(name) :].lstrip("= \t")
    option = _SHORT.get(name, name)
    if option in _REFUSED:
        reason, remedy = _REFUSED[option]
        raise fail(place, f"{hide_credentials(line)!r} is refused: {reason}", remedy)
    if option not in ("--requirement", "--constraint") and option not in _HARMLESS:
        raise fail(place, f"the option {name!r} is not understood", "remove the line")
    return option, "".join(shlex.split(value)[:1])


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines with the number of their first: continued ones joined, comments left out."""
    start, parts = 1, ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw)
        start = start if parts else number
        if line.endswith("\\") and line == raw:
            parts += line[:-1] + " "
            continue
        line, parts = (parts + line).strip(), ""
        if line:
            yield start, line
    if parts.strip():
        yield start, parts.strip()


def _text(path: Path, where: str, shown: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise fail(where, f"{shown!r} can't be read: {error.strerror}", "correct the path") from None
    if len(content) > MAX_SIZE:
        raise fail(shown, f"the file is larger than {MAX_SIZE} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise fail(shown, "the file is not UTF-8", "save it as UTF-8") from None
