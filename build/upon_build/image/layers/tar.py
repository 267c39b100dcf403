"""A tar file whose bytes depend on nothing but its entries: no owners, no times but one, parents' folders once.

Written by hand, since what tarfile writes may change with Python's version, and layers are compared by their bytes.
POSIX 1003.1-2001: ustar headers, and a pax header only before a name, a link or a size that ustar can't hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol, TypeAlias

from upon import UponError

Kind: TypeAlias = Literal["file", "dir", "link"]

BLOCK = 512
CHUNK = 2**18  # bytes read at a time
_TYPES = {"file": b"0", "link": b"2", "dir": b"5"}
_MAX_OCTAL = 8**11 - 1


class Out(Protocol):
    def write(self, content: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in the image's file system. path: relative to its root, with slashes; mode: such as 0o644.

    size: bytes of a file; open: gives its content, None for folders and links; target: of a symbolic link.
    """

    path: str
    mode: int
    kind: Kind
    size: int = 0
    open: Callable[[], BinaryIO] | None = None
    target: str = ""


def write_tar(entries: Iterable[Entry], out: Out, mtime: int = 0) -> None:
    """Write entries in the order given. mtime: of everything, in seconds since 1970.

    Raises ValueError for two entries of one path or one outside the root, UponError for a file whose content has
    another size than its entry says.
    """
    there: dict[str, Kind] = {}
    for entry in entries:
        _check(entry, there)
        for folder in _parents(entry.path, there):
            out.write(header(Entry(folder, 0o755, "dir"), mtime))
        if entry.path not in there:
            there[entry.path] = entry.kind
            out.write(header(entry, mtime))
            _write_content(entry, out)
    out.write(bytes(2 * BLOCK))


def header(entry: Entry, mtime: int = 0) -> bytes:
    """The blocks before an entry's content."""
    name = entry.path.encode() + (b"/" if entry.kind == "dir" else b"")
    target = entry.target.encode()
    pax: dict[str, bytes] = {}
    fits = _split(name)
    if fits is None:
        pax["path"] = name
    if len(target) > 100 or not target.isascii():
        pax["linkpath"] = target
    if entry.size > _MAX_OCTAL:
        pax["size"] = str(entry.size).encode()
    prefix, last = fits or (b"", name[:100])
    size = 0 if "size" in pax else entry.size
    block = _block(last, prefix, entry.mode, size, mtime, _TYPES[entry.kind], target[:100])
    return _pax(pax, mtime) + block if pax else block


def _check(entry: Entry, there: dict[str, Kind]) -> None:
    path = entry.path
    if not path or "\0" in path + entry.target or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{path!r} is no path in an image")
    if path in there and not there[path] == entry.kind == "dir":
        raise ValueError(f"there are two entries of {path!r}")


def _parents(path: str, there: dict[str, Kind]) -> Iterator[str]:
    """Those that are not there yet, the outermost first."""
    end = path.find("/")
    while end >= 0:
        folder = path[:end]
        if folder not in there:
            there[folder] = "dir"
            yield folder
        elif there[folder] != "dir":
            raise ValueError(f"{path!r} is below {folder!r}, which is no folder")
        end = path.find("/", end + 1)


def _write_content(entry: Entry, out: Out) -> None:
    if entry.kind != "file" or entry.open is None:
        return
    size = 0
    with entry.open() as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
            if size > entry.size:
                break
            out.write(chunk)
    if size != entry.size:
        more = "more" if size > entry.size else f"{size}"
        raise UponError(
            f"{entry.path!r} should have {entry.size} bytes, and has {more}: build again when nothing writes"
        )
    out.write(bytes(-size % BLOCK))


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Into ustar's prefix and name; None where they can't hold it."""
    if not name.isascii():
        return None
    if len(name) <= 100:
        return b"", name
    cut = name.find(b"/", max(0, len(name) - 101), 156)
    if cut < 1 or cut == len(name) - 1:
        return None
    return name[:cut], name[cut + 1 :]


def _pax(records: dict[str, bytes], mtime: int) -> bytes:
    content = b"".join(_pax_record(key, value) for key, value in sorted(records.items()))
    block = _block(b"././@PaxHeader", b"", 0o644, len(content), mtime, b"x", b"")
    return block + content + bytes(-len(content) % BLOCK)


def _pax_record(key: str, value: bytes) -> bytes:
    """`27 path=…\\n`: the number counts itself."""
    rest = b" %s=%s\n" % (key.encode(), value)
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _block(name: bytes, prefix: bytes, mode: int, size: int, mtime: int, kind: bytes, target: bytes) -> bytes:
    if not 0 <= mtime <= _MAX_OCTAL:
        raise ValueError(f"a time of {mtime} s does not fit into a tar file: it must be 0 to {_MAX_OCTAL}")
    block = b"".join(
        (
            name.ljust(100, b"\0"),
            b"%07o\0" % mode,
            b"0000000\0" * 2,  # owner and group: root
            b"%011o\0" % size,
            b"%011o\0" % mtime,
            b" " * 8,  # the checksum, as it counts itself
            kind,
            target.ljust(100, b"\0"),
            b"ustar\00000",
            bytes(64),  # names of owner and group
            b"0000000\0" * 2,  # device numbers
            prefix.ljust(155, b"\0"),
            bytes(12),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
