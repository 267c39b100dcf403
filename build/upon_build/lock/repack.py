"""A wheel whose bytes depend on its content alone: not on the tool that built it, nor on a compressor's version."""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from pathlib import Path

_DATE = (1980, 1, 1, 0, 0, 0)


def repack(source: Path, target: Path) -> str:
    """Write a wheel again: sorted, stored, without times and its builder's name. Returns its SHA-256 in hexadecimal."""
    with zipfile.ZipFile(source) as archive:
        entries = sorted((one for one in archive.infolist() if not one.is_dir()), key=lambda one: one.filename)
        contents = {one.filename: _plain(one.filename, archive.read(one)) for one in entries}
    (record,) = (name for name in contents if name.endswith(".dist-info/RECORD"))
    contents[record] = _record(contents, record)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as out:
        for one in entries:
            about = zipfile.ZipInfo(one.filename, _DATE)
            about.create_system = 3
            about.external_attr = (0o755 if one.external_attr >> 16 & 0o100 else 0o644) << 16
            out.writestr(about, contents[one.filename])
    return hashlib.sha256(target.read_bytes()).hexdigest()


def _plain(name: str, content: bytes) -> bytes:
    if name.endswith(".dist-info/WHEEL"):
        return re.sub(rb"(?m)^Generator: .*$", b"Generator: upon", content)
    return content


def _record(contents: dict[str, bytes], record: str) -> bytes:
    lines = []
    for name, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},,\n" if name == record else f"{name},sha256={digest},{len(content)}\n")
    return "".join(lines).encode()
