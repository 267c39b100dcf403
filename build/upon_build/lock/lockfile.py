"""func.lock: which wheel files and models an image is made of, as the project commits it.

It names no index, time or folder, so it is the same on every machine: a wheel is found again by its name in whichever
index is configured, and known by its hash.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from upon_build.project.problems import ProjectError, fail

NAME = "func.lock"
FORMAT = "upon.lock/v1"
COMMAND = "run `func lock`"
MAX_SIZE = 2**24  # bytes
Origin: TypeAlias = Literal["checkout", "package"]

_HEAD = "# Written by `func lock`: commit it, and do not edit it.\n"
_SHA256 = re.compile("[0-9a-f]{64}")
_WHEEL = re.compile(r"[A-Za-z0-9_.+!-]+\.whl")


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One wheel file. platforms: those it is for, such as linux/amd64. sha256: 64 hex digits; size: bytes."""

    name: str
    version: str
    platforms: tuple[str, ...]
    file: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, order=True)
class LockedModel:
    """A model's file or folder. path: relative to func.yaml's folder, with `/`; size: bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, order=True)
class LockedBase:
    """The image below the project's layers, on one platform. reference: as asked for; digest: of its manifest."""

    reference: str
    platform: str
    digest: str


@dataclass(frozen=True, slots=True)
class Lock:
    """What func.lock says. inputs: hash of what was resolved; requirements, constraints: the lines of it.

    upon: whether Upon is one of the packages, or built from its checkout.
    """

    python: str
    platforms: tuple[str, ...]
    inputs: str
    packages: tuple[Package, ...]
    models: tuple[LockedModel, ...] = ()
    upon: Origin = "package"
    requirements: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    bases: tuple[LockedBase, ...] = ()

    def packages_for(self, platform: str) -> tuple[Package, ...]:
        """The packages of one platform, by name."""
        return tuple(package for package in self.packages if platform in package.platforms)

    def base_digest(self, reference: str, platform: str) -> str | None:
        """What this base was when it was locked; None where another one was, or none."""
        found = (base.digest for base in self.bases if (base.reference, base.platform) == (reference, platform))
        return next(found, None)

    def to_bytes(self) -> bytes:
        """As it is written: TOML in an order that depends on nothing but the content."""
        head = [
            ("format", FORMAT),
            ("inputs", self.inputs),
            ("python", self.python),
            ("platforms", sorted(self.platforms)),
            ("upon", self.upon),
            ("requirements", sorted(self.requirements)),
            *([("constraints", sorted(self.constraints))] if self.constraints else []),
        ]
        blocks = [_HEAD + _pairs(head)]
        blocks += ["[[base]]\n" + _pairs(_fields(base)) for base in sorted(self.bases)]
        blocks += ["[[package]]\n" + _pairs(_fields(package)) for package in sorted(self.packages)]
        blocks += ["[[model]]\n" + _pairs(_fields(model)) for model in sorted(self.models)]
        return "\n".join(blocks).encode()


def read_lock(folder: Path) -> Lock | None:
    """The project's lock; None where there is none. Raises ProjectError for a file that is not one of ours."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise fail(NAME, f"the file can't be read: {error.strerror}") from None
    if len(content) > MAX_SIZE:
        raise fail(NAME, f"the file is larger than {MAX_SIZE} bytes", f"delete it and {COMMAND}")
    return parse_lock(content)


def parse_lock(content: bytes) -> Lock:
    """Read strictly what `to_bytes` wrote. Raises ProjectError for anything else."""
    try:
        value = tomllib.loads(content.decode())
    except ValueError as error:
        raise fail(NAME, f"not TOML: {error}", _again(content)) from None
    found = value.get("format")
    if found != FORMAT:
        remedy = f"this version of Upon reads {FORMAT!r}: use the version that wrote it, or delete it and {COMMAND}"
        raise fail(NAME, f"the lock's format is {found!r}", remedy)
    try:
        return _lock(value)
    except ProjectError:
        raise
    except (LookupError, TypeError, ValueError) as error:
        said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
        raise fail(NAME, f"the lock can't be read: {said}", f"delete it and {COMMAND}") from None


def write_lock(folder: Path, lock: Lock) -> bool:
    """Write the lock where its bytes are others; returns whether it did. Raises OSError."""
    path = folder / NAME
    content = lock.to_bytes()
    try:
        if path.read_bytes() == content:
            return False
    except FileNotFoundError:
        pass
    fresh = path.with_name(f".{NAME}.{os.getpid()}")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return True


def _again(content: bytes) -> str:
    """Two branches that both locked leave git's marks behind."""
    return (
        f"resolve the merge by deleting it, and {COMMAND}" if b"\n<<<<<<< " in content else f"delete it and {COMMAND}"
    )


# Reading


def _lock(value: Mapping[str, Any]) -> Lock:
    upon = _text(value, "upon")
    if upon not in ("checkout", "package"):
        raise ValueError(f"upon is {upon!r}")
    return Lock(
        python=_text(value, "python"),
        platforms=_texts(value, "platforms"),
        inputs=_text(value, "inputs"),
        packages=tuple(sorted(_package(one) for one in _tables(value, "package"))),
        models=tuple(sorted(_model(one) for one in _tables(value, "model"))),
        upon=cast(Origin, upon),
        requirements=_texts(value, "requirements"),
        constraints=_texts(value, "constraints") if "constraints" in value else (),
        bases=tuple(sorted(_base(one) for one in _tables(value, "base"))),
    )


def _package(value: Mapping[str, Any]) -> Package:
    file = _text(value, "file")
    if not _WHEEL.fullmatch(file):
        raise ValueError(f"{file!r} is no wheel's name")
    return Package(
        _text(value, "name"), _text(value, "version"), _texts(value, "platforms"), file, _sha256(value), _size(value)
    )


def _base(value: Mapping[str, Any]) -> LockedBase:
    digest = _text(value, "digest")
    if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
        raise ValueError(f"{digest!r:.80} is no digest")
    return LockedBase(_text(value, "reference"), _text(value, "platform"), digest)


def _model(value: Mapping[str, Any]) -> LockedModel:
    return LockedModel(_text(value, "path"), _sha256(value), _size(value))


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value[key]
    if not isinstance(found, str) or not found:
        raise TypeError(f"{key} is {found!r:.60}, which is no text")
    return found


def _texts(value: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = value[key]
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise TypeError(f"{key} is {found!r:.60}, which is no list of texts")
    return tuple(found)


def _tables(value: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    found = value.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise TypeError(f"{key} is no list of tables")
    return found


def _sha256(value: Mapping[str, Any]) -> str:
    found = _text(value, "sha256")
    if not _SHA256.fullmatch(found):
        raise ValueError(f"{found!r:.80} is no SHA-256")
    return found


def _size(value: Mapping[str, Any]) -> int:
    found = value["size"]
    if type(found) is not int or found < 0:
        raise ValueError(f"size is {found!r:.60}")
    return found


# Writing


def _fields(item: LockedBase | Package | LockedModel) -> list[tuple[str, Any]]:
    return [(name, getattr(item, name)) for name in type(item).__slots__]


def _pairs(pairs: Sequence[tuple[str, Any]]) -> str:
    return "".join(f"{key} = {_toml(value)}\n" for key, value in pairs)


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int):
        return str(value)
    if all(len(one) < 16 for one in value):
        return f"[{', '.join(map(_quoted, value))}]"
    return "[\n" + "".join(f"    {_quoted(one)},\n" for one in value) + "]"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", escaped) + '"'
