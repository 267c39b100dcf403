"""The folder that a Containerfile is built in: what `.funcignore` lets in, the locked wheels, the models, the manifest.

    Containerfile   wheels/*.whl   models/NAME/…   app/…   manifest.json

Large files are hard links where their mode is right already, so that a model of gigabytes is not copied each time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from upon_build.image.assembly.config import APP
from upon_build.image.tooled.containerfile import CONTEXT, NAME, model_folder
from upon_build.project.problems import fail

if TYPE_CHECKING:
    from upon_build.image.layers.tar import Entry
    from upon_build.image.tooled.containerfile import Recipe
    from upon_build.lock.wheels import Wheel

LINKED = 2**20  # bytes; from there on a hard link is worth it


def prepare(recipe: Recipe, containerfile: str) -> Path:
    """Write the context anew; returns its folder. Raises OSError."""
    context = recipe.folder / CONTEXT
    if context.is_symlink() or context.parent.is_symlink():
        raise fail(CONTEXT, "the folder is a symlink", "remove it: its content would be deleted")
    shutil.rmtree(context, ignore_errors=True)
    epoch = recipe.facts.epoch
    for name in ("wheels", "models", "app"):
        (context / name).mkdir(parents=True)
    for wheel in (*recipe.wheels, *([recipe.own] if recipe.own else [])):
        _place_wheel(wheel, context / "wheels" / wheel.path.name)
    for path, entries in recipe.models:
        _place_all(entries, context / "models" / model_folder(path), epoch)
    _place_all(recipe.code, context / "app", epoch)
    for name, content in (("manifest.json", recipe.manifest), (NAME, containerfile.encode())):
        (context / name).write_bytes(content)
        _finish(context / name, 0o644, epoch)
    return context


def own_containerfile(folder: Path, name: str | None) -> Path | None:
    """The project's own Containerfile. Raises ProjectError where it is not there."""
    if name is None:
        return None
    path = folder / name
    if not path.is_file():
        remedy = f"`func build` without it writes one to {CONTEXT}/{NAME}: copy that and change it"
        raise fail("build.containerfile", f"there is no file {name!r} beside func.yaml", remedy)
    return path


def _place_wheel(wheel: Wheel, target: Path) -> None:
    if not _linked(wheel.path, target):
        shutil.copyfile(wheel.path, target)


def _place_all(entries: Iterable[Entry], folder: Path, epoch: int) -> None:
    """Entries of the image's file system, whose paths begin with `app/`, below the folder."""
    folders = [folder]
    folder.mkdir(exist_ok=True)
    for entry in entries:
        relative = Path(entry.path).relative_to(APP.lstrip("/"))
        target = folder / relative
        folders += [folder / parent for parent in relative.parents]
        target.parent.mkdir(parents=True, exist_ok=True)
        match entry.kind:
            case "dir":
                target.mkdir(exist_ok=True)
                folders.append(target)
            case "link":
                target.symlink_to(entry.target)
            case _:
                _place_file(entry, target, epoch)
    for made in sorted(set(folders), key=lambda path: -len(path.parts)):
        _finish(made, 0o755, epoch)


def _place_file(entry: Entry, target: Path, epoch: int) -> None:
    assert entry.open is not None
    with entry.open() as source:
        name = str(getattr(source, "name", ""))
        fits = os.path.isfile(name) and os.stat(name).st_mode & 0o7777 == entry.mode
        if fits and entry.size >= LINKED and _linked(Path(name), target):
            return
        with target.open("wb") as out:
            shutil.copyfileobj(source, out, 2**20)
    _finish(target, entry.mode, epoch)


def _linked(source: Path, target: Path) -> bool:
    with suppress(OSError):  # another file system, or one without links
        os.link(source, target)
        return True
    return False


def _finish(path: Path, mode: int, epoch: int) -> None:
    """Mode and time as in the image: the tools' caches look at both."""
    path.chmod(mode)
    os.utime(path, (epoch, epoch))
