"""Which files a model consists of: the file that the code names with what it refers to, or everything in a folder."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from upon_build.image.files.ignore import always_out
from upon_build.image.files.onnxfile import external_files
from upon_build.image.layers.hashes import Hashes, Seen, digest_only
from upon_build.image.sizes import show_size
from upon_build.project.problems import fail

if TYPE_CHECKING:
    from upon_build.image.store import Store

POINTER = b"version https://git-lfs.github.com/spec/"
_EXAMINED = 1  # version of what _examine finds


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model's files may lie. inside: only below root."""

    root: Path
    path: str
    inside: bool

    def relative(self, path: Path) -> str:
        """To the project's folder; empty for that itself."""
        shown = posixpath.relpath(path.as_posix(), self.root.as_posix())
        return "" if shown == "." else shown

    def resolve(self, path: Path) -> Path:
        """Without symlinks. Raises ProjectError where they lead out of the project."""
        try:
            real = Path(os.path.realpath(path))
            real.exists()
        except (OSError, RuntimeError) as error:
            raise fail(self.path, f"{path} can't be followed: {error}", "correct the link") from None
        if self.inside and not real.is_relative_to(self.root):
            message = f"{path.relative_to(self.root).as_posix()!r} is a link that leads out of the project, to {real}"
            raise fail(self.path, message, "put the file itself there")
        return real


def hashes_of(place: Place, store: Store | None) -> Hashes:
    return Hashes(store, f"model {place.root / place.path}")


def locate(place: Place, hashes: Hashes, max_size: int | None, *, hashed: bool = True) -> tuple[Path, list[str]]:
    """The folder with the model's files, and their names in it."""
    path = _relative(place.path)
    found = place.resolve(place.root / path)
    if not found.exists():
        remedy = "correct the path in upon.Model, or fetch the model first"
        raise fail(place.path, f"there is no model {place.path!r} in {place.root}", remedy)
    if found.is_dir():
        base, names = found, _names_below(place, found)
    else:
        _check_size(place, [found], max_size)
        base, name = place.resolve((place.root / path).parent), posixpath.basename(path)
        names = _with_companions(place, base, name, _external(place, base, name, hashes, hashed))
    _check_size(place, (base / name for name in names), max_size)
    return base, names


def _external(place: Place, base: Path, name: str, hashes: Hashes, hashed: bool) -> Sequence[str]:
    """Where the model's weights are. hashed: it will be hashed anyway, so that it is read once."""
    real = place.resolve(base / name)
    seen = see(place, base, name, hashes) if hashed else hashes.recall(name, str(real), _EXAMINED)
    if seen is not None:
        external: Sequence[str] = seen.found["external"]
        return external
    with real.open("rb", buffering=0) as file:
        return external_files(cast("BinaryIO", file))


def _relative(path: str) -> str:
    normal = posixpath.normpath(path)
    if posixpath.isabs(path):
        message = "the model's path is absolute, and in the image it would name another place"
        raise fail(path, message, "write it relative to func.yaml's folder")
    if normal == ".":
        raise fail(path, "the model is the project's folder itself", "put it into a folder of its own")
    if normal.startswith(".."):
        raise fail(path, "the model is outside the project's folder", "move it there, below func.yaml")
    if ".." in path.split("/"):
        raise fail(path, "the model's path goes up and down again", f"write it as {normal!r}")
    return normal


def see(place: Place, base: Path, name: str, hashes: Hashes) -> Seen:
    real = place.resolve(base / name)
    if not real.is_file():
        raise fail(place.path, f"{name!r} is not a file", "a model consists of files")
    seen = hashes.see(name, str(real), _examine, _EXAMINED)
    if seen.found.get("pointer"):
        message = f"{name!r} is a pointer of Git LFS, not the file itself"
        raise fail(place.path, message, "fetch it with `git lfs pull`")
    return seen


def _examine(file: BinaryIO) -> tuple[str, Any]:
    pointer = file.read(len(POINTER)) == POINTER
    external = external_files(file)
    file.seek(0)
    return digest_only(file)[0], {"pointer": pointer, "external": external}


def _with_companions(place: Place, base: Path, name: str, external: Sequence[str]) -> list[str]:
    names = {name}
    for location in external:
        normal = posixpath.normpath(location)
        if posixpath.isabs(normal) or normal.startswith(".."):
            message = f"its weights are at {location!r}, outside the model's folder, where ONNX Runtime does not read"
            raise fail(place.path, message, "save the model again with its external data beside it")
        if not (base / normal).is_file():
            message = f"its weights are in {location!r}, and there is no such file beside the model"
            raise fail(place.path, message, "put it there, or save the model again with its weights inside")
        names.add(normal)
    return sorted(names)


def _names_below(place: Place, base: Path) -> list[str]:
    def refuse(error: OSError) -> None:
        raise fail(place.path, f"{error.filename} can't be read: {error.strerror}", "make it readable") from None

    names = []
    for where, folders, files in os.walk(base, onerror=refuse):
        folders[:] = [name for name in folders if not always_out(name)]
        for name in folders:
            if os.path.islink(os.path.join(where, name)):
                shown = os.path.relpath(os.path.join(where, name), base)
                raise fail(place.path, f"{shown!r} in the model's folder is a link to a folder", "put the files there")
        names += [os.path.relpath(os.path.join(where, name), base) for name in files if not always_out(name)]
    if not names:
        raise fail(place.path, "the model's folder is empty", "put the model's files there")
    return sorted(names)


def _check_size(place: Place, files: Iterable[Path], max_size: int | None) -> None:
    size = sum(file.stat().st_size for file in files if file.exists())
    if max_size is not None and size > max_size:
        message = f"the model has {show_size(size)}, and build.maxLayerSize is {show_size(max_size)}"
        raise fail(place.path, message, "raise build.maxLayerSize, if the registry takes such a layer")
