"""Wheels from the configured indexes, several at once, each into its place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from upon import MissingExtra, UponError
from upon_build.lock.download import Stopped, download
from upon_build.lock.indexes import Indexes
from upon_build.lock.lockfile import NAME, Package
from upon_build.lock.requirement import hide_credentials
from upon_build.lock.simple import Found, files_at, places
from upon_build.lock.web import IndexFault, IndexUnavailable, Web
from upon_build.project.problems import fail

if TYPE_CHECKING:
    from upon_build.registry.progress import Progress

PARALLEL = 8


def fetch(packages: Mapping[Path, Package], progress: Progress | None = None, web: Web | None = None) -> None:
    """Put each package's wheel at its path. The largest first, so that none is left alone at the end.

    The first error stops the others, and is raised: ProjectError, IndexUnavailable, IndexFault, OSError.
    """
    try:
        import urllib3  # noqa: F401
    except ImportError:
        raise MissingExtra("fetching packages", "deploy") from None
    indexes = Indexes.from_env()
    web = web or Web(indexes)
    stop = threading.Event()
    ordered = sorted(packages.items(), key=lambda entry: -entry[1].size)
    with ThreadPoolExecutor(PARALLEL, "wheels") as threads:
        futures = [threads.submit(_fetch_one, web, indexes, *entry, progress, stop) for entry in ordered]
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
    web: Web, indexes: Indexes, target: Path, package: Package, progress: Progress | None, stop: threading.Event
) -> None:
    task = progress.begin(f"{package.name} {package.version}", package.size) if progress else 0

    def advance(count: int) -> None:
        if progress:
            progress.advance(task, count)

    try:
        _from_anywhere(web, indexes, package, target, advance, stop)
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
