"""A project's models as layers of their own, and their hashes: they are large and change seldom.

A model is a file with what it refers to (an ONNX file may keep its weights in files beside it), or a folder. In the
image it lies where the code names it, below `app/`; `.funcignore` has no say in it. A symlink that stays inside the
project is followed to its content.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from upon_build.image.files.modelfiles import Place, hashes_of, locate, see
from upon_build.project.problems import Problem, ProjectError

if TYPE_CHECKING:
    from upon_build.image.layers.hashes import Seen
    from upon_build.image.layers.tar import Entry
    from upon_build.image.oci import Layer
    from upon_build.image.store import Store

TARGET = "app"
LEVEL = 1  # of compression: hardly slower than copying; 0 makes weights a quarter larger


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model as it lies on disk.

    path: as the code names it; base: the folder that holds it, or the model itself where that is a folder, relative to
    the project's; files: by name below `base`, sorted; sha256: hexadecimal.
    """

    path: str
    base: str
    files: tuple[tuple[str, Seen], ...]
    sha256: str

    @property
    def size(self) -> int:
        return sum(seen.size for _, seen in self.files)

    @property
    def names(self) -> tuple[str, ...]:
        """The files' paths in the project's folder, and so below `app/`."""
        return tuple(posixpath.join(self.base, name) for name, _ in self.files)


class Names(NamedTuple):
    """Paths in the project's folder. targets: what links among them lead to, which is in the image only as `files`."""

    files: frozenset[str]
    targets: frozenset[str]


def model_layers(store: Store, folder: Path, paths: Sequence[str], *, max_size: int, mtime: int = 0) -> list[Layer]:
    """One layer for each model, in the order of their paths; what two models share is in the first one's.

    paths: as the code names them; max_size: of a layer, in bytes, uncompressed; mtime: of all files, in seconds since
    1970. Raises ProjectError for a model that
    is missing, larger, outside the project's folder, or only a pointer of Git LFS.
    """
    from upon_build.image.layers.layer import make_layer

    layers = []
    for model in _without_repeats(read_models(folder, paths, store, max_size=max_size)):
        lines = [f"{name} {seen.sha256}" for name, (_, seen) in zip(model.names, model.files, strict=True)]
        layers.append(
            make_layer(
                store,
                "\n".join(["model", *lines]),
                partial(_entries, model),
                title=model.path,
                kind="model",
                level=LEVEL,
                max_size=max_size,
                where=model.path,
                mtime=mtime,
            )
        )
    return layers


def model_entries(
    folder: Path, paths: Sequence[str], store: Store | None = None, *, max_size: int | None = None
) -> list[tuple[str, Iterator[Entry]]]:
    """The same as (path, entries) pairs, for a builder that makes layers of its own."""
    models = read_models(folder, paths, store, max_size=max_size)
    return [(model.path, _entries(model)) for model in _without_repeats(models)]


def hash_model(path: Path, store: Store | None = None) -> tuple[str, int]:
    """(sha256, size) of a model: a file with what it refers to, or a folder. Hexadecimal digits; bytes.

    One file's hash is that of its content, as `sha256sum` prints it; that of several is the hash of what `sha256sum`
    prints for them, in the order of their names. With a store, what did not change since the last time is not read
    again. Raises ProjectError as `model_layers` does.
    """
    model = _read(path.parent, path.name, store, None, inside=False)
    return model.sha256, model.size


def read_models(
    folder: Path, paths: Sequence[str], store: Store | None = None, *, max_size: int | None = None
) -> list[ModelFiles]:
    """The models, hashed or recalled, in the order of their paths. Raises ProjectError with the faults of all."""
    models: list[ModelFiles] = []
    problems: list[Problem] = []
    for path in sorted(set(paths)):
        try:
            models.append(_read(folder, path, store, max_size, inside=True))
        except ProjectError as error:
            problems += error.problems
    if problems:
        raise ProjectError(problems)
    return models


def model_names(folder: Path, paths: Sequence[str], store: Store | None = None) -> Names:
    """What the models consist of, without hashing it. Raises ProjectError as `model_layers` does, sizes apart."""
    names: set[str] = set()
    targets: set[str] = set()
    for path in set(paths):
        place = Place(Path(os.path.realpath(folder)), path, inside=True)
        base, found = locate(place, hashes_of(place, store), None, hashed=False)
        names.update(place.relative(base / name) for name in found)
        targets.update(place.relative(place.resolve(base / name)) for name in found)
    return Names(frozenset(names), frozenset(targets - names))


def _read(folder: Path, path: str, store: Store | None, max_size: int | None, *, inside: bool) -> ModelFiles:
    place = Place(Path(os.path.realpath(folder)), path, inside)
    hashes = hashes_of(place, store)
    base, names = locate(place, hashes, max_size)
    files = tuple((name, see(place, base, name, hashes)) for name in names)
    hashes.save()
    single = len(files) == 1 and not (place.root / path).is_dir()
    return ModelFiles(path, place.relative(base), files, files[0][1].sha256 if single else _combined(files))


def _combined(files: Sequence[tuple[str, Seen]]) -> str:
    lines = (f"{seen.sha256}  {name}\n" for name, seen in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _without_repeats(models: Iterable[ModelFiles]) -> Iterator[ModelFiles]:
    there: set[str] = set()
    for model in models:
        pairs = zip(model.names, model.files, strict=True)
        files = tuple(file for name, file in pairs if name not in there)
        there.update(model.names)
        if files:
            yield replace(model, files=files)


def _entries(model: ModelFiles) -> Iterator[Entry]:
    from upon_build.image.layers.tar import Entry

    for name, (_, seen) in zip(model.names, model.files, strict=True):
        yield Entry(f"{TARGET}/{name}", 0o644, "file", seen.size, seen.open)
