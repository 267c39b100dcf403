"""A wheel as an archive: its members by name, each read against the hash that its RECORD states.

Members are streamed, since a single library of CUDA has more than a gigabyte, and inflated by isal, which takes half
of zlib's time.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from upon import MissingExtra
from upon_build.project.problems import ProjectError, fail

SMALL = 2**20  # bytes; up to this size a member is read in one piece
CHUNK = 2**18  # bytes read at a time of a larger one
_ALGORITHMS = ("sha256", "sha384", "sha512")
_UNHASHED = ("RECORD", "RECORD.jws", "RECORD.p7s")
_LOCAL = struct.Struct("<4s22xHH")  # a member's own header: signature, lengths of name and extra field


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a wheel. hash: as RECORD has it, such as `sha256=…`; executable: whether its mode says so."""

    wheel: Path
    name: str
    size: int
    hash: str
    executable: bool
    info: zipfile.ZipInfo

    def open(self) -> BinaryIO:
        """Its content. Reading raises ProjectError where it is not what RECORD says."""
        if self.size > SMALL:
            return cast("BinaryIO", _Content(self))
        return io.BytesIO(self.read())

    def read(self) -> bytes:
        """All of its content. Raises as `open`."""
        content = bytearray(self.size)
        with _Content(self) as file, memoryview(content) as view:
            done = file.readinto(view)
            while done < self.size:
                done += file.readinto(view[done:])
        return bytes(content)


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A wheel whose names and RECORD were checked. dist_info: the folder's name; members: sorted by name."""

    path: Path
    dist_info: str
    members: tuple[Member, ...]

    def find(self, name: str) -> Member | None:
        """The member of this name in the dist-info folder."""
        full = f"{self.dist_info}/{name}"
        return next((member for member in self.members if member.name == full), None)


def read_wheel(path: Path) -> WheelFile:
    """Raises ProjectError for a file that is no sound wheel of version 1, MissingExtra."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            _check_names(path, infos)
            dist_info = _dist_info(path, infos)
            record = _read_record(path, archive, f"{dist_info}/RECORD")
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise wrong(path, f"it can't be read: {error}") from None
    members = tuple(_members(path, sorted(infos, key=lambda info: info.filename), dist_info, record))
    wheel = WheelFile(path, dist_info, members)
    _check_version(wheel)
    return wheel


def wrong(path: Path, fact: str) -> ProjectError:
    """That a wheel can't be installed, to raise."""
    return fail(path.name, fact, f"lock another version of it, or remove {path} if the file was damaged")


def _check_names(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for info in infos:
        name = info.orig_filename  # filename ends at a NUL
        if any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name or not name.isprintable():
            raise wrong(path, f"the name {name!r} of a file in it would lead elsewhere")
        if name in seen:
            raise wrong(path, f"{name!r} is in it twice")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise wrong(path, f"{name!r} in it is no regular file")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise wrong(path, f"{name!r} in it is encrypted, or packed as no wheel may be")
        seen.add(name)


def _dist_info(path: Path, infos: list[zipfile.ZipInfo]) -> str:
    """The only folder of that kind, which must be the one of the wheel's own name, however it is spelt."""
    tops = {info.filename.partition("/")[0] for info in infos if "/" in info.filename}
    found = sorted(top for top in tops if top.lower().endswith(".dist-info"))
    if len(found) != 1:
        raise wrong(path, f"a wheel has one .dist-info folder, and it has {', '.join(found) or 'none'}")
    name = found[0].removesuffix(".dist-info").rpartition("-")[0]  # some tools spell the version in another way
    if not found[0].endswith(".dist-info") or _plain(name) != _plain(path.name.partition("-")[0]):
        raise wrong(path, f"its folder {found[0]!r} belongs to another package")
    return found[0]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _read_record(path: Path, archive: zipfile.ZipFile, name: str) -> Mapping[str, str]:
    try:
        text = archive.read(name).decode()
    except KeyError:
        raise wrong(path, f"it has no {name}") from None
    return {row[0]: row[1] for row in csv.reader(text.splitlines()) if len(row) >= 2}


def _members(path: Path, infos: list[zipfile.ZipInfo], dist_info: str, record: Mapping[str, str]) -> Iterator[Member]:
    unhashed = {f"{dist_info}/{name}" for name in _UNHASHED}
    missing = sorted(set(record) - {info.filename for info in infos} - unhashed)
    if missing:
        raise wrong(path, f"its RECORD lists {missing[0]!r}, which is not in it")
    for info in infos:
        if info.filename in unhashed:
            continue
        stated = record.get(info.filename, "")
        if stated.partition("=")[0] not in _ALGORITHMS:
            raise wrong(path, f"its RECORD has no secure hash of {info.filename!r}")
        executable = bool(info.external_attr >> 16 & 0o111)
        yield Member(path, info.filename, info.file_size, stated, executable, info)


def _check_version(wheel: WheelFile) -> None:
    found = wheel.find("WHEEL")
    if found is None:
        raise wrong(wheel.path, f"it has no {wheel.dist_info}/WHEEL")
    lines = (line.partition(":") for line in found.read().decode(errors="replace").splitlines())
    said = {key: value for key, _, value in lines}
    version = said.get("Wheel-Version", "").strip()
    if version.partition(".")[0] != "1":
        raise wrong(wheel.path, f"it is a wheel of version {version!r}, and only version 1 is known")
    if said.get("Root-Is-Purelib", "").strip().lower() not in ("true", "false"):
        raise wrong(wheel.path, "its Root-Is-Purelib is neither true nor false")


class _Content(io.RawIOBase):
    """A member's content, as many bytes as the archive says, compared with its hash at the end."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._left = member.size
        self._packed = member.info.compress_size
        self._file = _at_content(member)
        self._inflate = None if member.info.compress_type == zipfile.ZIP_STORED else _inflater()
        algorithm, _, self._stated = member.hash.partition("=")
        self._hash = hashlib.new(algorithm)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        piece = self._next(min(len(view), self._left)) if self._left else b""
        view[: len(piece)] = piece
        self._left -= len(piece)
        self._hash.update(piece)
        if (self._left == 0 or not piece) and not self._is_right():
            raise wrong(self._member.wheel, f"its file {self._member.name!r} differs from its RECORD")
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _next(self, size: int) -> bytes:
        """At least one byte, and nothing at the end."""
        if self._inflate is None:
            return self._raw(size)
        try:
            while not self._inflate.eof:
                # It may ask for input only after a call that gave nothing: all it had was given by the call before.
                hungry = self._inflate.needs_input
                raw = self._raw(CHUNK) if hungry else b""
                piece: bytes = self._inflate.decompress(raw, size)
                if piece or (not raw and hungry == self._inflate.needs_input):
                    return piece
        except ValueError as error:
            raise wrong(self._member.wheel, f"its file {self._member.name!r} can't be unpacked: {error}") from None
        return b""

    def _raw(self, size: int) -> bytes:
        piece = self._file.read(min(size, self._packed))
        self._packed -= len(piece)
        return piece

    def _is_right(self) -> bool:
        digest = base64.urlsafe_b64encode(self._hash.digest()).decode()
        return self._left == 0 and digest.rstrip("=") == self._stated.rstrip("=")


def _at_content(member: Member) -> BinaryIO:
    """The wheel, open where the member's packed bytes begin: behind a header that may differ from the directory's."""
    file = member.wheel.open("rb", buffering=0)
    try:
        file.seek(member.info.header_offset)
        start = file.read(_LOCAL.size)
        if len(start) < _LOCAL.size or not start.startswith(b"PK\3\4"):
            raise wrong(member.wheel, f"its file {member.name!r} is not where the directory says")
        _, name, extra = _LOCAL.unpack(start)
        file.seek(name + extra, 1)
    except BaseException:
        file.close()
        raise
    return cast("BinaryIO", file)


def _inflater() -> Any:
    try:
        from isal import igzip_lib
    except ImportError:
        raise MissingExtra("building images", "deploy") from None
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)
