"""Sizes and hashes that an index does not state: a plain HTML page has neither to have, so the file itself says."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from upon_build.lock.download import download, measure
from upon_build.lock.fetching import PARALLEL
from upon_build.lock.indexes import Indexes
from upon_build.lock.resolving import Candidate
from upon_build.lock.simple import Found
from upon_build.lock.web import Web
from upon_build.lock.wheels import wheel_path

if TYPE_CHECKING:
    from upon_build.image.store import Store


def complete(wheels: Iterable[Candidate], indexes: Indexes, store: Store | None) -> dict[Candidate, tuple[str, int]]:
    """(sha256, size) of each wheel. What has to be fetched for it goes into the store, if there is one.

    Raises IndexUnavailable and IndexFault.
    """
    known = {}
    unknown = []
    for wheel in wheels:
        if wheel.sha256 and wheel.size is not None:
            known[wheel] = (wheel.sha256, wheel.size)
        else:
            unknown.append(wheel)
    if unknown:
        web = Web(indexes)
        with ThreadPoolExecutor(PARALLEL, "measure") as threads:
            known.update(zip(unknown, threads.map(lambda wheel: _measured(web, wheel, store), unknown), strict=True))
        web.close()
    return known


def _measured(web: Web, wheel: Candidate, store: Store | None) -> tuple[str, int]:
    found = Found(wheel.file, wheel.where, wheel.sha256)
    if "://" not in found.where:
        path = Path(found.where)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
    if store is not None and wheel.sha256:
        target = wheel_path(store, wheel.sha256, wheel.file)
        if not target.is_file():
            download(web, found, target, wheel.sha256)
        return wheel.sha256, target.stat().st_size
    with tempfile.TemporaryDirectory(prefix="upon-lock-") as folder:
        return measure(web, found, Path(folder) / wheel.file)
