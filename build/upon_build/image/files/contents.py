"""The project's own files as the code layer: everything below func.yaml that is not ignored and no model.

What differs between two machines that hold the same project is evened out: times, owners, umask, empty folders.
func.yaml goes in without its profiles; func.lock stays out, so that another version of a package leaves this layer as
it is.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from upon_build.image.files import funcfile
from upon_build.image.files.ignore import Ignore
from upon_build.image.files.modelfiles import POINTER
from upon_build.image.files.models import TARGET, model_names
from upon_build.image.files.suspects import MAX_SCANNED, VERSION, suspect
from upon_build.image.files.walk import Tree, check_links, shown, walk
from upon_build.image.layers.hashes import Hashes, digest_only
from upon_build.image.sizes import show_size
from upon_build.project.file import ProjectFile
from upon_build.project.problems import Problem, ProjectError

if TYPE_CHECKING:
    from upon_build.image.layers.tar import Entry
    from upon_build.image.oci import Layer
    from upon_build.image.store import Store

LARGE = 50 * 2**20  # bytes of code from which on there is a warning
SHOWN = 3  # of the largest files


@dataclass(frozen=True, slots=True)
class Item:
    """A file or link of the code layer. path: below `app/`; open: None for a link."""

    path: str
    mode: int
    size: int
    sha256: str
    open: Callable[[], BinaryIO] | None
    target: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """What the code layer consists of, sorted by path, and what should be told about it."""

    items: tuple[Item, ...]
    warnings: tuple[Problem, ...]

    @property
    def size(self) -> int:
        """Bytes of content."""
        return sum(item.size for item in self.items)

    @property
    def key(self) -> str:
        """The same for the same layer, on every machine."""
        found = hashlib.sha256()
        for item in self.items:
            line = (item.path, f"{item.mode:o}", str(item.size), item.sha256, item.target)
            found.update("\0".join(line).encode() + b"\0\0")
        return f"code {found.hexdigest()}"

    def entries(self) -> Iterator[Entry]:
        from upon_build.image.layers.tar import Entry

        for item in self.items:
            yield Entry(
                f"{TARGET}/{item.path}",
                item.mode,
                "link" if item.open is None else "file",
                item.size,
                item.open,
                item.target,
            )


def code_layer(
    store: Store,
    folder: Path,
    file: ProjectFile,
    models: Sequence[str],
    *,
    max_size: int,
    without: Collection[Path] = (),
    warn: Callable[[Problem], None] = lambda problem: None,
    mtime: int = 0,
) -> Layer:
    """The code layer, from the store where nothing changed.

    models: their paths, as the code names them, which have layers of their own; max_size: in bytes, uncompressed;
    without: files and folders that stay out besides, such as where the image is written to; mtime: of all files, in
    seconds since 1970. Raises ProjectError with everything that can't be in an image.
    """
    from upon_build.image.layers.layer import make_layer

    code = read_code(folder, file, models, store=store, without=without)
    for problem in code.warnings:
        warn(problem)
    _check_size(code, max_size)
    return make_layer(
        store, code.key, code.entries, title="code", kind="code", max_size=max_size, where=TARGET, mtime=mtime
    )


def code_entries(
    folder: Path,
    file: ProjectFile,
    models: Sequence[str],
    *,
    store: Store | None = None,
    without: Collection[Path] = (),
) -> Iterator[Entry]:
    """What is in the code layer, sorted by path. Raises ProjectError as `code_layer` does."""
    return read_code(folder, file, models, store=store, without=without).entries()


def read_code(
    folder: Path,
    file: ProjectFile,
    models: Sequence[str] = (),
    *,
    store: Store | None = None,
    without: Collection[Path] = (),
    clock: Callable[[], float] = time.time,
) -> Code:
    """Find, check and hash the files of the code layer. clock: seconds since 1970.

    Raises ProjectError with everything that is wrong.
    """
    root = Path(os.path.realpath(folder))
    ignore = Ignore.read(root)
    names = model_names(root, models, store)
    besides = [*without, *([store.folder] if store else [])]  # a cache in the workspace, as some CI systems want it
    tree = walk(root, ignore, without={*_relative(root, besides), *_state_folders(file), *names.files, *names.targets})
    _replace_func_file(tree, file)
    check_links(tree, [*names.files, funcfile.NAME])
    tree.problems += funcfile.plain_passwords(file)
    tree.problems += _missing_functions(tree, file)
    items = _items(tree, file, Hashes(store, f"code of {root}", clock))
    if tree.problems:
        raise ProjectError(tree.problems)
    code = Code(tuple(sorted(items, key=lambda item: item.path)), ())
    return Code(code.items, (*ignore.warnings, *tree.warnings, *_warnings(code)))


def _replace_func_file(tree: Tree, file: ProjectFile) -> None:
    """The file that is built from is in the image as func.yaml, whatever its name; no other takes its place."""
    names = {funcfile.NAME}
    if Path(os.path.realpath(file.path.parent)) == tree.folder:
        names.add(file.path.name)
    for name in names:
        tree.files.pop(name, None)
        tree.links.pop(name, None)


def _items(tree: Tree, file: ProjectFile, hashes: Hashes) -> list[Item]:
    allowed = _allowed(file)
    items = [_func_file(tree, file, allowed)]
    items += [Item(path, 0o777, 0, "", None, target) for path, target in tree.links.items()]
    for path, status in tree.files.items():
        try:
            seen = hashes.see(path, f"{tree.folder}/{path}", _examiner(path), VERSION, status)
        except ProjectError as error:
            tree.problems += error.problems
            continue
        _judge(tree, path, seen.found, allowed)
        items.append(Item(path, 0o755 if status.st_mode & 0o100 else 0o644, seen.size, seen.sha256, seen.open))
    hashes.save()
    return items


def _func_file(tree: Tree, file: ProjectFile, allowed: Collection[str]) -> Item:
    content = funcfile.image_file(file)
    _judge(tree, funcfile.NAME, suspect(funcfile.NAME, content), allowed)
    sha256 = hashlib.sha256(content).hexdigest()
    return Item(funcfile.NAME, 0o644, len(content), sha256, lambda: io.BytesIO(content))


def _examiner(path: str) -> Callable[[BinaryIO], tuple[str, Any]]:
    def examine(file: BinaryIO) -> tuple[str, Any]:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size > MAX_SCANNED:
            return digest_only(file)[0], suspect(path, None)
        content = file.read()
        if content.startswith(POINTER):
            return hashlib.sha256(content).hexdigest(), "LFS"
        return hashlib.sha256(content).hexdigest(), suspect(path, content)

    return examine


def _judge(tree: Tree, path: str, found: str, allowed: Collection[str]) -> None:
    if found == "LFS":
        message = "it is a pointer of Git LFS, not the file itself"
        tree.warnings.append(Problem("warning", shown(path), message, "fetch it with `git lfs pull`"))
    elif found and path not in allowed:
        remedy = (
            "list it in .funcignore, and give the secret to the code as {{ secret:name:key }} in run.envs;"
            " where it is none, list it in build.allowSecretLooking"
        )
        tree.error(path, f"it looks like {found}, and would be in the image", remedy)


def _missing_functions(tree: Tree, file: ProjectFile) -> Iterator[Problem]:
    listed = file.data.get("functions")
    for index, name in enumerate(listed if isinstance(listed, list) else []):
        path = os.path.normpath(str(name)).replace(os.sep, "/")
        if path not in tree.files and path not in tree.links and (tree.folder / path).is_file():
            message = f"{name!r} is a file of functions, and .funcignore leaves it out of the image"
            yield Problem("error", file.location(("functions", index)), message, "remove the pattern")


def _allowed(file: ProjectFile) -> frozenset[str]:
    build = file.data.get("build")
    listed = build.get("allowSecretLooking") if isinstance(build, Mapping) else None
    return frozenset(map(str, listed)) if isinstance(listed, list) else frozenset()


def _state_folders(file: ProjectFile) -> Iterator[str]:
    """Of every profile: what a run on this machine left there is no part of the project."""
    profiles = file.data.get("profiles")
    for part in (file.data, *(profiles.values() if isinstance(profiles, Mapping) else ())):
        run = part.get("run") if isinstance(part, Mapping) else None
        if isinstance(run, Mapping) and isinstance(run.get("stateDir"), str):
            yield os.path.normpath(run["stateDir"])


def _relative(root: Path, paths: Collection[Path]) -> Iterator[str]:
    for path in paths:
        real = Path(os.path.realpath(path))
        if real != root and real.is_relative_to(root):
            yield real.relative_to(root).as_posix()


def _warnings(code: Code) -> Iterator[Problem]:
    if code.size >= LARGE:
        message = f"the code layer has {show_size(code.size)}: {_largest(code)}"
        yield Problem("warning", TARGET, message, "list in .funcignore what the functions do not need")


def _check_size(code: Code, max_size: int) -> None:
    if code.size > max_size:
        message = f"the code layer has {show_size(code.size)}, and build.maxLayerSize is {show_size(max_size)}"
        remedy = f"list in .funcignore what the functions do not need: {_largest(code)}"
        raise ProjectError([Problem("error", TARGET, message, remedy)])


def _largest(code: Code) -> str:
    items = sorted(code.items, key=lambda item: (-item.size, item.path))[:SHOWN]
    return ", ".join(f"{shown(item.path)} ({show_size(item.size)})" for item in items)
