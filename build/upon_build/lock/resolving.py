"""uv resolves, for the target alone: which versions, and which wheel files there are of each."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from upon import MissingExtra, UponError
from upon_build.lock.indexes import Indexes
from upon_build.lock.refusals import refusal
from upon_build.lock.requirements import Requirements
from upon_build.lock.tags import uv_platform

TIMEOUT = 600.0  # seconds
# Of uv's variables, those that say how it works; another one could change what comes out of it in silence.
_KEPT = (
    "UV_CACHE_DIR",
    "UV_CONCURRENT_DOWNLOADS",
    "UV_EXCLUDE_NEWER",
    "UV_HTTP_RETRIES",
    "UV_HTTP_TIMEOUT",
    "UV_INDEX_STRATEGY",
    "UV_KEYRING_PROVIDER",
    "UV_NATIVE_TLS",
    "UV_NO_CACHE",
    "UV_OFFLINE",
    "UV_REQUEST_TIMEOUT",
    "UV_SYSTEM_CERTS",
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A wheel file that uv found for a version. where: URL or path; size: bytes, None where the index says none."""

    file: str
    where: str
    sha256: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Resolved:
    """A package at the version that was chosen for one platform."""

    name: str
    version: str
    wheels: tuple[Candidate, ...]


def resolve(
    requirements: Requirements,
    platform: str,
    indexes: Indexes,
    uv: str,
    *,
    preferred: Mapping[str, str],
    upgrade: bool = False,
    env: Mapping[str, str] = os.environ,
    timeout: float = TIMEOUT,
) -> list[Resolved]:
    """The packages for one platform, by name. uv: its binary; preferred: versions to keep where they still fit.

    Raises ProjectError where there is no solution, IndexUnavailable without a network, TimeoutError.
    """
    with tempfile.TemporaryDirectory(prefix="upon-lock-") as name:
        folder = Path(name)
        _write(folder, requirements, preferred)
        done = _run(_command(uv, requirements, platform, indexes, upgrade), folder, _environment(indexes, env), timeout)
        if done.returncode != 0:
            raise refusal(done.stderr, requirements, platform, indexes)
        return read_pylock((folder / "pylock.toml").read_text(encoding="utf-8"), folder)


def find_uv() -> str:
    """The path of uv's binary. Raises MissingExtra."""
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError):
        raise MissingExtra("locking", "deploy") from None


def _write(folder: Path, requirements: Requirements, preferred: Mapping[str, str]) -> None:
    files = {
        "requirements.in": requirements.lines,
        "constraints.txt": requirements.constraints,
        "excludes.txt": requirements.excluded,
    }
    for name, lines in files.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if preferred:
        entries = [f'[[packages]]\nname = "{name}"\nversion = "{version}"\n' for name, version in preferred.items()]
        text = 'lock-version = "1.0"\ncreated-by = "upon"\n\n' + "\n".join(entries)
        (folder / "pylock.toml").write_text(text, encoding="utf-8")


def _command(uv: str, requirements: Requirements, platform: str, indexes: Indexes, upgrade: bool) -> list[str]:
    return [
        uv,
        *("pip", "compile", "requirements.in", "--no-config", "--quiet", "--color=never"),
        *("--output-file", "pylock.toml", "--format", "pylock.toml", "--no-header", "--no-annotate"),
        *("--constraints", "constraints.txt", "--excludes", "excludes.txt"),
        *("--only-binary", ":all:", "--generate-hashes", "--python", sys.executable, "--no-python-downloads"),
        *("--python-version", requirements.python, "--python-platform", uv_platform(platform)),
        *(["--upgrade"] if upgrade else []),
        *([] if indexes.indexes else ["--no-index"]),
    ]


def _environment(indexes: Indexes, env: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in env.items() if not name.startswith(("UV_", "PIP_")) or name in _KEPT}
    return {**kept, **indexes.for_uv()}


def _run(
    command: Sequence[str], folder: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"uv did not resolve the requirements within {timeout:g} s: try again") from None
    except OSError as error:
        raise UponError(f"uv can't be run: {error.strerror}; pip install --force-reinstall uv") from None


def read_pylock(text: str, folder: Path) -> list[Resolved]:
    """The packages of a pylock.toml (PEP 751) as uv writes it. folder: where it lies."""
    found = [_resolved(entry, folder) for entry in tomllib.loads(text).get("packages", [])]
    return sorted(found, key=lambda one: (one.name, one.version))


def _resolved(entry: Mapping[str, Any], folder: Path) -> Resolved:
    wheels = tuple(_candidate(wheel, folder) for wheel in entry.get("wheels", []))
    return Resolved(entry["name"], entry.get("version", ""), wheels)


def _candidate(wheel: Mapping[str, Any], folder: Path) -> Candidate:
    where = wheel.get("url") or str((folder / wheel["path"]).resolve())
    if where.startswith("file:"):
        where = unquote(urlsplit(where).path)
    path = unquote(urlsplit(where).path) if "://" in where else where
    file = wheel.get("name") or path.rpartition("/")[2]
    return Candidate(file, where, wheel.get("hashes", {}).get("sha256", ""), wheel.get("size"))
