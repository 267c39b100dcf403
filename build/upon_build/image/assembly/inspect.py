"""Which Python a base has, and which C library: read from the headers of its layers, remembered by its digest."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from upon_build.image.assembly.base import Base
from upon_build.image.oci import Layer
from upon_build.image.store import Store
from upon_build.project.problems import fail

_STANDARD = ("usr/local/bin", "usr/bin", "bin")
_PYTHON = re.compile(r"(.*)/python(3\.\d{1,2})")
_LIBC = re.compile(r"(?:usr/)?lib(?:64|32)?/(?:[^/]+/)?ld-(linux|musl)[^/]*\.so\.\d+")
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A base's Python. path: absolute, in the image; version: X.Y."""

    path: str
    version: str


def find_interpreter(
    base: Base, python: str, store: Store, fetch: Callable[[Layer], Path], where: str = "func.yaml"
) -> Interpreter:
    """The base's Python X.Y that the packages were locked for.

    fetch: gives a layer's blob; not called where the base was looked into before, or its configuration tells.
    Raises ProjectError for a base without Python, with another one, or with musl, for which no wheel was locked.
    """
    key = f"upon.base/v1 {base.digest}"
    seen = store.recall(key) or _told(base)
    if seen is None:
        seen = scan((fetch(layer) for layer in base.layers), _folders(base), where, base.name)
        store.remember(key, seen)
    return _choose(base, seen, python, where)


def _told(base: Base) -> dict[str, Any] | None:
    """What the configuration of a docker.io/library/python image says of it, without a look into its layers.

    PYTHON_VERSION alone would not do: other images have it too, with Python elsewhere, and the Alpine ones are musl.
    """
    version = re.match(r"3\.\d{1,2}(?=\.|$)", base.env.get("PYTHON_VERSION", ""))
    history = " ".join(str(step.get("created_by", "")) for step in base.config.get("history") or [])
    if version is None or "PYTHON_SHA256" not in base.env or "/usr/local/bin" not in base.env.get("PATH", ""):
        return None
    if "apk add" in history:
        return {"pythons": [[f"/usr/local/bin/python{version[0]}", version[0]]], "libc": "musl"}
    if "apt-get install" in history:
        return {"pythons": [[f"/usr/local/bin/python{version[0]}", version[0]]], "libc": "linux"}
    return None


def _folders(base: Base) -> tuple[str, ...]:
    """Where the base itself would look, then where Python usually is."""
    said = (folder.strip("/") for folder in base.env.get("PATH", "").split(":"))
    return tuple(dict.fromkeys([*(folder for folder in said if folder), *_STANDARD]))


def _choose(base: Base, seen: Mapping[str, Any], python: str, where: str) -> Interpreter:
    found = [Interpreter(str(path), str(version)) for path, version in seen["pythons"]]
    if not found:
        looked = ", ".join(f"/{folder}" for folder in _folders(base))
        message = f"the base {base.name} has no Python: there is no python3.N in {looked}"
        raise fail(where, message, f"choose one that has it, such as docker.io/library/python:{python}-slim")
    if seen["libc"] == "musl":
        message = f"the base {base.name} is built on musl (Alpine), for which the packages in func.lock are not made"
        raise fail(where, message, f"choose one with glibc, such as docker.io/library/python:{python}-slim")
    fitting = [one for one in found if one.version == python]
    if not fitting:
        others = " and ".join(dict.fromkeys(one.version for one in found))
        message = f"the base {base.name} has Python {others}, and func.lock is for Python {python}"
        remedy = f"choose a base with Python {python}, or set build.python to {found[0].version!r} and run `func lock`"
        raise fail(where, message, remedy)
    return fitting[0]


def scan(blobs: Iterable[Path], folders: tuple[str, ...], where: str, name: str) -> dict[str, Any]:
    """`{"pythons": [[path, version], …], "libc": "linux"|"musl"|""}` of layers, given from the lowest up."""
    there: set[str] = set()
    for blob in blobs:
        try:
            removed, added = _headers(blob, folders)
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            message = f"a layer of the base {name} can't be read: {error}"
            raise fail(where, message, "choose another base, or push it again") from None
        there = {path for path in there if not _covered(path, removed)} | added
    pythons = [
        (folders.index(match[1]), [f"/{path}", match[2]])
        for path in sorted(there, key=_by_version)
        if (match := _PYTHON.fullmatch(path))
    ]
    libraries = {match[1] for path in there if (match := _LIBC.fullmatch(path))}
    libc = "linux" if "linux" in libraries else "musl" if libraries else ""
    return {"pythons": [found for _, found in sorted(pythons, key=lambda pair: pair[0])], "libc": libc}


def _by_version(path: str) -> int:
    """The newest first."""
    match = _PYTHON.fullmatch(path)
    return -int(match[2].partition(".")[2]) if match else 0


def _headers(blob: Path, folders: tuple[str, ...]) -> tuple[set[str], set[str]]:
    """What a layer takes away from those below it (folders opened anew end in `/`), and what it adds."""
    removed: set[str] = set()
    added: set[str] = set()
    with closing(opened(blob)) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            path = member.name.removeprefix("./").strip("/")
            folder, _, file = path.rpartition("/")
            if file == _OPAQUE:
                removed.add(f"{folder}/")
            elif file.startswith(_WHITEOUT):
                removed.add(f"{folder}/{file.removeprefix(_WHITEOUT)}".lstrip("/"))
            elif not member.isdir() and ((folder in folders and _PYTHON.fullmatch(path)) or _LIBC.fullmatch(path)):
                added.add(path)
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep every header
    return removed, added


def _covered(path: str, removed: set[str]) -> bool:
    if path in removed:
        return True
    parents = [path[:index] for index, letter in enumerate(path) if letter == "/"]
    return any(parent in removed or f"{parent}/" in removed for parent in parents) or "/" in removed


def opened(blob: Path) -> IO[bytes]:
    """The layer's tar, whatever it is compressed with."""
    with blob.open("rb") as file:
        head = file.read(4)
    if head[:2] == b"\x1f\x8b":
        from isal import igzip

        return cast("IO[bytes]", igzip.open(blob, "rb"))  # type: ignore[no-untyped-call]
    if head == b"\x28\xb5\x2f\xfd":
        return _zstd(blob)
    return blob.open("rb")


def _zstd(blob: Path) -> IO[bytes]:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise ValueError("it is compressed with zstd; `pip install zstandard` reads that") from None
    return cast("IO[bytes]", zstandard.open(blob, "rb"))
