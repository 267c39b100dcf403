"""The wheels of a lock as files in the cache: those that are missing come from the configured index."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from upon_build.lock.lockfile import NAME, Lock, Package
from upon_build.project.problems import fail

if TYPE_CHECKING:
    from upon_build.image.store import Store
    from upon_build.lock.web import Web
    from upon_build.registry.progress import Progress


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel file on this machine whose SHA-256 (64 hex digits) was checked when it was written."""

    path: Path
    name: str
    version: str
    sha256: str


def fetch_wheels(
    lock: Lock, platform: str, store: Store, progress: Progress | None = None, *, web: Web | None = None
) -> list[Wheel]:
    """The locked wheels of one platform, by name; makes no request for what the store has.

    Raises ProjectError for a platform that the lock lacks and for a file that no configured index offers,
    IndexUnavailable without a network, IndexFault for wrong content, OSError for a full disk.
    """
    if platform not in lock.platforms:
        remedy = "run `func lock` with every `--platform` you build for, or list them under build.platforms"
        raise fail(NAME, f"the lock is for {', '.join(lock.platforms)}, not for {platform!r}", remedy)
    packages = lock.packages_for(platform)
    missing = [package for package in packages if _find(package, store) is None]
    if missing:
        from upon_build.lock.fetching import fetch

        fetch({_path(one, store): one for one in missing}, progress, web)
    return [Wheel(_path(one, store), one.name, one.version, one.sha256) for one in packages]


def wheel_path(store: Store, sha256: str, file: str) -> Path:
    """Where the cache has a wheel, if it has it."""
    return store.folder / "wheels" / sha256 / file


def _path(package: Package, store: Store) -> Path:
    return wheel_path(store, package.sha256, package.file)


def _find(package: Package, store: Store) -> Path | None:
    """The wheel in the cache, marked as used."""
    path = _path(package, store)
    try:
        if path.stat().st_size != package.size:
            return None
        os.utime(path)
    except FileNotFoundError:
        return None
    except OSError:  # a cache that may only be read
        return path
    return path
