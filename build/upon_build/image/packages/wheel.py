"""A wheel as what it is once it is installed into a virtual environment, without a pip that runs anywhere.

https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import posixpath
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from upon_build.image.layers.tar import Entry
from upon_build.image.packages.bytecode import Compiler, cache_name, check_bytecode
from upon_build.image.packages.scripts import command_scripts, own_script
from upon_build.image.packages.wheelfile import Member, WheelFile, read_wheel, wrong

TARGET = "opt/venv"
_LEFT_OUT = ("INSTALLER", "REQUESTED", "direct_url.json")  # an installer's own, whatever the wheel says


@dataclass(frozen=True, slots=True)
class Installed:
    """A file in the image. hash: of its content, such as `sha256=…`, as a RECORD has it."""

    path: str
    mode: int
    size: int
    hash: str
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a virtual environment of Python X.Y has its folders. root: without a leading slash."""

    python: str
    root: str = TARGET

    @property
    def packages(self) -> str:
        return f"{self.root}/lib/python{self.python}/site-packages"

    @property
    def interpreter(self) -> str:
        return f"/{self.root}/bin/python"

    def folder(self, scheme: str, package: str) -> str | None:
        """Of a key below a wheel's .data folder; None for one that does not exist."""
        return {
            "purelib": self.packages,
            "platlib": self.packages,
            "scripts": f"{self.root}/bin",
            "headers": f"{self.root}/include/site/python{self.python}/{package}",
            "data": self.root,
        }.get(scheme)


def wheel_entries(path: Path, python: str, target: str = TARGET, *, bytecode: bool = False) -> Iterator[Entry]:
    """The wheel, installed. python: X.Y of the image; target: the virtual environment, without a leading slash.

    bytecode: also what Python would write into __pycache__, taken without a look at the source; files that are no
    Python of this version have none. Raises ProjectError for an unsound wheel, some faults only when a file's content
    is read, and for bytecode of another Python than this one; MissingExtra.
    """
    where = Environment(python, target)
    wheel = read_wheel(path)
    files = installed_files(wheel, where)
    if bytecode:
        check_bytecode(python)
    compiled: list[str] = []
    with ExitStack() as stack:
        compiler = stack.enter_context(Compiler()) if bytecode else None
        there = {file.path for file in files}
        for file in files:
            yield Entry(file.path, file.mode, "file", file.size, file.open)
            if compiler and file.path.startswith(where.packages) and file.path.endswith(".py"):
                name = cache_name(file.path, python)
                content = None if name in there else compiler.compile(file.open().read(), f"/{file.path}")
                if content is not None:
                    compiled.append(name)
                    yield Entry(name, 0o644, "file", len(content), partial(io.BytesIO, content))
    record = _record(wheel, files, compiled, where)
    yield Entry(f"{where.packages}/{wheel.dist_info}/RECORD", 0o644, "file", len(record), partial(io.BytesIO, record))


def installed_files(wheel: WheelFile, where: Environment) -> list[Installed]:
    """All but RECORD and bytecode, sorted by path. Raises ProjectError."""
    found: dict[str, Installed] = {}
    for file in (*_own_files(wheel, where), *_commands(wheel, where)):
        found[file.path] = file  # a command's script replaces a file of its name, as pip has it
    installer = f"{where.packages}/{wheel.dist_info}/INSTALLER"
    found[installer] = _made(installer, 0o644, b"upon\n")
    return [found[path] for path in sorted(found)]


def _own_files(wheel: WheelFile, where: Environment) -> Iterator[Installed]:
    seen: set[str] = set()
    left_out = {f"{wheel.dist_info}/{name}" for name in _LEFT_OUT}
    for member in wheel.members:
        file = _placed(wheel, member, where)
        if file.path in seen:
            raise wrong(wheel.path, f"it has two files for {file.path!r}")
        seen.add(file.path)
        if member.name not in left_out:
            yield file


def _placed(wheel: WheelFile, member: Member, where: Environment) -> Installed:
    top, _, rest = member.name.partition("/")
    if not top.endswith(".data") or not rest:
        return _kept(member, f"{where.packages}/{member.name}", member.executable)
    scheme, _, name = rest.partition("/")
    folder = where.folder(scheme, wheel.path.name.partition("-")[0])
    if folder is None or not name:
        raise wrong(wheel.path, f"it has {member.name!r}, and there is no scheme {scheme!r}")
    if scheme != "scripts":
        return _kept(member, f"{folder}/{name}", member.executable)
    return _script(member, f"{folder}/{name}", where)


def _script(member: Member, path: str, where: Environment) -> Installed:
    with member.open() as file:
        if file.read(8)[:8] != b"#!python":
            return _kept(member, path, True)
    return _made(path, 0o755, own_script(member.read(), where.interpreter))


def _kept(member: Member, path: str, executable: bool) -> Installed:
    return Installed(path, 0o755 if executable else 0o644, member.size, member.hash, member.open)


def _made(path: str, mode: int, content: bytes) -> Installed:
    return Installed(path, mode, len(content), _hash(content), partial(io.BytesIO, content))


def _commands(wheel: WheelFile, where: Environment) -> Iterator[Installed]:
    member = wheel.find("entry_points.txt")
    if member is None:
        return
    try:
        for name, content in command_scripts(member.read().decode(), where.interpreter):
            yield _made(f"{where.root}/bin/{name}", 0o755, content)
    except ValueError as error:
        raise wrong(wheel.path, f"its entry_points.txt has a command that can't be installed: {error}") from None


def _record(wheel: WheelFile, files: list[Installed], compiled: list[str], where: Environment) -> bytes:
    """What is installed, for importlib.metadata and pip."""
    rows = [(file.path, file.hash, str(file.size)) for file in files]
    rows += [(path, "", "") for path in (*compiled, f"{where.packages}/{wheel.dist_info}/RECORD")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    base = f"/{where.packages}"
    writer.writerows((posixpath.relpath(f"/{path}", base), *more) for path, *more in sorted(rows))
    return text.getvalue().encode()


def _hash(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"sha256={digest}"
