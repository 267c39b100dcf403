"""An image's layers as folders, laid over each other by hard links: most are those of the image before."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
from pathlib import Path
from typing import IO

GONE = ".wh."  # before the name of what a layer takes away
EMPTIED = ".wh..wh..opq"


def unpack(content: IO[bytes], folder: Path) -> None:
    """A gzip'ed tar, with its owners and modes. Raises OSError, tarfile.TarError."""
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with gzip.GzipFile(fileobj=content) as plain, tarfile.open(fileobj=plain, mode="r|") as archive:
        archive.extractall(part, numeric_owner=True, filter="fully_trusted")
    part.rename(folder)


def merge(layer: Path, target: Path) -> None:
    """The layer over what is in the folder."""
    with os.scandir(layer) as found:
        entries = list(found)
    if any(entry.name == EMPTIED for entry in entries):
        for old in list(target.iterdir()):
            _remove(old)
    for entry in sorted(entries, key=lambda entry: not entry.name.startswith(GONE)):  # what goes makes room
        place = target / entry.name
        if entry.name.startswith(GONE):
            _remove(target / entry.name.removeprefix(GONE))
        elif entry.is_dir(follow_symlinks=False):
            _folder(entry, place)
            merge(Path(entry.path), place)
        else:
            _remove(place)
            os.link(entry.path, place, follow_symlinks=False)


def _folder(entry: os.DirEntry[str], place: Path) -> None:
    if place.is_symlink() or not place.is_dir():
        _remove(place)
        place.mkdir()
    said = entry.stat(follow_symlinks=False)
    os.chown(place, said.st_uid, said.st_gid)
    place.chmod(said.st_mode & 0o7777)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
