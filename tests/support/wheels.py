"""Wheels for tests: made of a few files, sound or broken, and real ones from the package index."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.servers import CACHE
from upon_build.lock.wheels import Wheel

RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
# With all that they import, so that what is installed can be run.
REAL = ("onnxruntime", "numpy", "flatbuffers", "protobuf", "packaging", "flask")
REAL += ("werkzeug", "jinja2", "markupsafe", "itsdangerous", "click", "blinker")


def write_wheel(
    folder: Path,
    name: str = "demo",
    files: Mapping[str, bytes] | None = None,
    *,
    version: str = "1.0",
    executable: tuple[str, ...] = (),
    entry_points: str = "",
    record: Mapping[str, str | None] | None = None,
    wheel: str = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    info: str = "",
    packed: int = zipfile.ZIP_DEFLATED,
) -> Path:
    """record: hashes in place of the right ones, None to leave one out. info: the dist-info folder's name."""
    folder.mkdir(parents=True, exist_ok=True)
    info = info or f"{name}-{version}.dist-info"
    content = dict(files if files is not None else {f"{name}.py": f"NAME = {name!r}\n".encode()})
    content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    content[f"{info}/WHEEL"] = wheel.encode()
    if entry_points:
        content[f"{info}/entry_points.txt"] = entry_points.encode()
    content[f"{info}/RECORD"] = _record(content, record or {}, info)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", packed) as archive:
        for member, data in content.items():
            entry = zipfile.ZipInfo(member)
            entry.compress_type = packed
            entry.external_attr = (0o100755 if member in executable else 0o100644) << 16
            archive.writestr(entry, data)
    return path


def wheel_of(path: Path) -> Wheel:
    name, version = path.name.split("-")[:2]
    return Wheel(path, name, version, hashlib.sha256(path.read_bytes()).hexdigest())


def _record(content: Mapping[str, bytes], others: Mapping[str, str | None], info: str) -> bytes:
    hashes: dict[str, str | None] = {name: _hash(data) for name, data in content.items()}
    rows = [f"{name},{hash_},\n" for name, hash_ in (hashes | dict(others)).items() if hash_ is not None]
    return "".join([*rows, f"{info}/RECORD,,\n"]).encode()


def _hash(data: bytes) -> str:
    return f"sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()}"


@pytest.fixture(scope="session")
def real_wheels() -> list[Wheel]:
    """The wheels of REAL for this Python and machine, fetched once."""
    folder = CACHE / f"wheels-{RUNNING}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"wheels-{RUNNING}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").is_file():
            _fetch(folder)
    return [wheel_of(path) for path in sorted(folder.glob("*.whl"))]


def _fetch(folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        str(folder),
    ]
    done = subprocess.run([*command, *REAL], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        pytest.skip(f"no wheels to test with; this fetches them: {' '.join([*command, *REAL])}")
    (folder / "made").touch()
