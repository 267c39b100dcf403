"""A project's files as they may go into an image: what is ignored is not entered, and what can't be packed is told."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from upon_build.image.files.ignore import MARKERS, NAME, Ignore, is_environment, is_image_file
from upon_build.project.problems import Problem

_LISTED = f"list it in {NAME}"
_SORTS = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a named pipe", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}


@dataclass(slots=True)
class Tree:
    """Paths are relative to the folder, with slashes, sorted by nobody. links: to their targets, as they stand."""

    folder: Path
    files: dict[str, os.stat_result] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def error(self, path: str, message: str, remedy: str) -> None:
        self.problems.append(Problem("error", shown(path), message, remedy))


def shown(path: str) -> str:
    """A path as it can stand on one line, in UTF-8."""
    return path if path.isprintable() else ascii(path)


def walk(folder: Path, ignore: Ignore, *, without: Collection[str] = ()) -> Tree:
    """Everything in a folder that is not ignored. without: relative paths that stay out, whatever is in them.

    Empty folders are not in the result: Git does not keep them either. Raises nothing; `problems` says what is wrong.
    """
    tree = Tree(Path(os.path.realpath(folder)))
    open_folders = [""]
    while open_folders:
        open_folders += _list(tree, open_folders.pop(), ignore, without)
    return tree


def check_links(tree: Tree, besides: Collection[str] = ()) -> None:
    """Whether every link leads to something in the image. besides: paths that get there otherwise."""
    there = {*tree.files, *tree.links, *besides, ""}
    there.update([above for path in there for above in _parents(path)])
    for path, target in sorted(tree.links.items()):
        _check_link(tree, path, target, there)


def _list(tree: Tree, folder: str, ignore: Ignore, without: Collection[str]) -> Iterator[str]:
    where = tree.folder / folder
    try:
        with os.scandir(where) as found:
            entries = list(found)
    except OSError as error:
        tree.error(folder or ".", f"the folder can't be read: {error.strerror}", f"make it readable, or {_LISTED}")
        return
    if folder and any(entry.name in MARKERS for entry in entries):
        return
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if path not in without and not _is_out(entry, path, ignore) and _is_new_folder(tree, entry, path):
            yield path


def _is_out(entry: os.DirEntry[str], path: str, ignore: Ignore) -> bool:
    try:
        is_folder = entry.is_dir()  # or a link to one: `data/` in .funcignore means it too
    except OSError:  # a link in a circle, or to what may not be looked at
        is_folder = False
    if ignore.leaves_out(path, is_folder=is_folder):
        return True
    if not is_folder:
        return path.endswith(".tar") and entry.is_file() and is_image_file(entry.path)
    return entry.is_symlink() and is_environment(entry.path)


def _is_new_folder(tree: Tree, entry: os.DirEntry[str], path: str) -> bool:
    """Whether it is to be entered; anything else is filed."""
    if not _is_utf8(path):
        tree.error(path, f"the name {os.fsencode(entry.name)!r} is not UTF-8", f"rename it, or {_LISTED} with a *")
        return False
    if path == "pyvenv.cfg":
        remedy = "make it in a folder of its own, for instance with `python -m venv .venv`"
        tree.error(path, "the project's folder is a virtual environment itself", remedy)
        return False
    if entry.is_symlink():
        tree.links[path] = os.readlink(entry.path)
        return False
    if entry.is_dir():
        return True
    _file(tree, entry, path)
    return False


def _file(tree: Tree, entry: os.DirEntry[str], path: str) -> None:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError as error:
        tree.error(path, f"the file can't be read: {error.strerror}", "build again when nothing writes there")
        return
    if stat.S_ISREG(status.st_mode):
        tree.files[path] = status
        return
    sort = _SORTS.get(stat.S_IFMT(status.st_mode), "no file")
    tree.warnings.append(Problem("warning", shown(path), f"it is {sort}, and stays out of the image", _LISTED))


def _check_link(tree: Tree, path: str, target: str, there: Collection[str]) -> None:
    link = f"the link to {target!r}"
    if not _is_utf8(target):
        tree.error(path, f"{link} leads to a name that is not UTF-8", f"rename its target, or {_LISTED}")
        return
    if posixpath.isabs(target):
        tree.error(path, f"{link} is absolute: it leads outside", f"make it relative, within the project, or {_LISTED}")
        return
    lexical = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    try:
        real = os.path.realpath(tree.folder / path, strict=True)
    except OSError as error:
        what = "goes in a circle" if error.errno == errno.ELOOP else "leads to nothing"
        tree.error(path, f"{link} {what}", f"correct it, or {_LISTED}")
        return
    inside = os.path.relpath(real, tree.folder)
    if _leaves(lexical) or _leaves(inside):
        tree.error(path, f"{link} leaves the project", f"put the file itself there, or {_LISTED}")
    elif ("" if inside == "." else inside) not in there:
        tree.error(path, f"{link} leads to what stays out of the image", f"bring its target back, or {_LISTED}")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that were none stand in it as surrogates
        return False
    return True


def _leaves(path: str) -> bool:
    return path == ".." or path.startswith("../")


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
