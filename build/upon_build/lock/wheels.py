"""The wheels of a lock as files in the cache: those that are missing come from the configured index."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from upon import MissingExtra, UponError
from upon_build.lock.download import Stopped, download
from upon_build.lock.indexes import Indexes
from upon_build.lock.lockfile import NAME, Lock, Package
from upon_build.lock.requirement import hide_credentials
from upon_build.lock.simple import Found, files_at, places
from upon_build.lock.web import IndexFault, IndexUnavailable, Web
from upon_build.project.problems import fail

if TYPE_CHECKING:
    from upon_build.image.store import Store
    from upon_build.registry.progress import Progress

PARALLEL = 8


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
        _fetch(missing, store, progress, web)
    return [Wheel(_path(one, store), one.name, one.version, one.sha256) for one in packages]


def _fetch(packages: Sequence[Package], store: Store, progress: Progress | None, web: Web | None) -> None:
    """The largest first, so that none is left alone at the end. The first error stops the others."""
    try:
        import urllib3  # noqa: F401
    except ImportError:
        raise MissingExtra("fetching packages", "deploy") from None
    indexes = Indexes.from_env()
    web = web or Web(indexes)
    stop = threading.Event()
    ordered = sorted(packages, key=lambda package: -package.size)
    with ThreadPoolExecutor(PARALLEL, "wheels") as threads:
        futures = [threads.submit(_fetch_one, web, indexes, one, store, progress, stop) for one in ordered]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
            threads.shutdown(wait=True, cancel_futures=True)
            web.close()
    _raise_first(futures)


def _raise_first(futures: Iterable[Future[None]]) -> None:
    """The error that stopped the others, not one of those that were stopped."""
    errors = [error for one in futures if not one.cancelled() and (error := one.exception()) is not None]
    errors.sort(key=lambda error: isinstance(error, Stopped))
    if errors:
        raise errors[0]


def _fetch_one(
    web: Web, indexes: Indexes, package: Package, store: Store, progress: Progress | None, stop: threading.Event
) -> None:
    task = progress.begin(f"{package.name} {package.version}", package.size) if progress else 0

    def advance(count: int) -> None:
        if progress:
            progress.advance(task, count)

    try:
        _from_anywhere(web, indexes, package, _path(package, store), advance, stop)
    finally:
        if progress:
            progress.end(task)


def _from_anywhere(
    web: Web,
    indexes: Indexes,
    package: Package,
    target: Path,
    advance: Callable[[int], None],
    stop: threading.Event,
) -> None:
    """From the first place that has the file; a place that fails is told of only where no other one has it."""
    failures: list[UponError] = []
    for place in places(indexes, package.name):
        try:
            for found in _offers(web, place, package):
                download(web, found, target, package.sha256, package.size, advance=advance, stop=stop)
                return
        except (IndexUnavailable, IndexFault) as error:
            failures.append(error)
    if failures:
        raise failures[0]
    remedy = "configure the index that has it (UV_DEFAULT_INDEX, PIP_INDEX_URL), or run `func lock --upgrade`"
    raise fail(NAME, f"{package.file} is not at {indexes.shown}", remedy)


def _offers(web: Web, place: str, package: Package) -> list[Found]:
    """The locked file at one place. Raises IndexFault where the place itself says that its file is another one."""
    named = files_at(web, place, package.file)
    same = [found for found in named if found.sha256 in ("", package.sha256)]
    if named and not same:
        message = f"{hide_credentials(place)} offers another {package.file} than {NAME} names"
        raise IndexFault(f"{message}: its SHA-256 is {named[0].sha256}, not {package.sha256}")
    return same


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
