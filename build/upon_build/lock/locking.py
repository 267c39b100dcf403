"""A project's lock: its requirements resolved for every platform, and its models hashed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from upon_build.lock.complete import complete
from upon_build.lock.freshness import check_fresh, requirement_changes
from upon_build.lock.indexes import Indexes
from upon_build.lock.lockfile import NAME, Lock, LockedBase, Package, read_lock, write_lock
from upon_build.lock.models import lock_models
from upon_build.lock.refusals import available, no_wheel
from upon_build.lock.requirements import Requirements, read_requirements
from upon_build.lock.resolving import Candidate, Resolved, find_uv, resolve
from upon_build.lock.tags import best_wheel
from upon_build.project.making import make_manifest
from upon_build.project.problems import fail
from upon_build.project.project import Project

if TYPE_CHECKING:
    from upon_build.image.store import Store

__all__ = ["Locked", "check_fresh", "lock_models", "lock_requirements", "relock"]


@dataclass(frozen=True, slots=True)
class Locked:
    """before: the lock that was there; written: whether the file's bytes are others now. folder: func.yaml's."""

    lock: Lock
    before: Lock | None
    requirements: Requirements
    folder: Path
    written: bool


def relock(
    project: Project,
    *,
    platforms: Sequence[str] = (),
    python: str | None = None,
    upgrade: bool = False,
    store: Store | None = None,
    models: Sequence[str] | None = None,
    env: Mapping[str, str] = os.environ,
) -> Locked:
    """Write the project's lock; what is there already stays where it still fits, so that nothing moves unasked.

    models: their paths, where a manifest has told them; else the project's code is imported once, in a process of its
    own. Raises ProjectError, IndexUnavailable, IndexFault, TimeoutError, MissingExtra, OSError.
    """
    before = read_lock(project.folder)
    requirements = read_requirements(project, platforms=platforms, python=python, lock=before)
    paths = _models(project) if models is None else models
    hashed = lock_models(project.folder, paths, store)
    lock = lock_requirements(requirements, before, upgrade=upgrade, store=store, env=env)
    lock = replace(lock, models=hashed, bases=_bases(before, lock, upgrade))
    return Locked(lock, before, requirements, project.folder, write_lock(project.folder, lock))


def lock_requirements(
    requirements: Requirements,
    before: Lock | None = None,
    *,
    upgrade: bool = False,
    store: Store | None = None,
    env: Mapping[str, str] = os.environ,
    indexes: Indexes | None = None,
) -> Lock:
    """A lock without models. What `before` was resolved from the same requirements stays, without asking anybody."""
    if before is not None and not upgrade and _still_fits(before, requirements):
        return before
    indexes = indexes or Indexes.from_env(env)
    uv = find_uv()  # here, for sysconfig, which it asks, is not made for threads

    def resolved(platform: str) -> list[Resolved]:
        preferred = {} if before is None or upgrade else _preferred(before, platform)
        return resolve(requirements, platform, indexes, uv, preferred=preferred, upgrade=upgrade, env=env)

    with ThreadPoolExecutor(len(requirements.platforms), "resolve") as threads:
        found = dict(zip(requirements.platforms, threads.map(resolved, requirements.platforms), strict=True))
    return Lock(
        python=requirements.python,
        platforms=requirements.platforms,
        inputs=requirements.inputs(),
        packages=_packages(requirements, found, indexes, store),
        upon=requirements.upon,
        requirements=requirements.lines,
        constraints=requirements.constraints,
    )


def _bases(before: Lock | None, lock: Lock, upgrade: bool) -> tuple[LockedBase, ...]:
    """The builds before have pinned them; an upgrade leaves it to the next build to pin newer ones."""
    if before is None or upgrade:
        return ()
    return tuple(base for base in before.bases if base.platform in lock.platforms)


def _models(project: Project) -> list[str]:
    return [path for _, path in make_manifest(project.folder, project.profile).manifest.models]


def _still_fits(before: Lock, requirements: Requirements) -> bool:
    same = sorted(before.platforms) == sorted(requirements.platforms)
    return same and not requirement_changes(before, requirements)


def _preferred(before: Lock, platform: str) -> dict[str, str]:
    """Versions to keep: those of this platform, and of another one where this one is new."""
    preferred = {package.name: package.version for package in before.packages}
    return preferred | {package.name: package.version for package in before.packages_for(platform)}


def _packages(
    requirements: Requirements, found: Mapping[str, Sequence[Resolved]], indexes: Indexes, store: Store | None
) -> tuple[Package, ...]:
    """One entry for each wheel file, with the platforms it is for."""
    platforms: dict[tuple[str, str, Candidate], list[str]] = {}
    for platform, packages in found.items():
        for package in packages:
            wheel = _choose(requirements, package, platform, indexes)
            platforms.setdefault((package.name, package.version, wheel), []).append(platform)
    known = complete([wheel for _, _, wheel in platforms], indexes, store)
    return tuple(
        sorted(
            Package(name, version, tuple(sorted(those)), wheel.file, *known[wheel])
            for (name, version, wheel), those in platforms.items()
        )
    )


def _choose(requirements: Requirements, package: Resolved, platform: str, indexes: Indexes) -> Candidate:
    """The wheel of a platform. Raises ProjectError where there is none, or the project forbids it by its hash."""
    where, python = requirements.source or NAME, requirements.python
    by_file = {wheel.file: wheel for wheel in package.wheels}
    allowed = requirements.hashes.get(package.name)
    permitted = {file: wheel for file, wheel in by_file.items() if not allowed or wheel.sha256 in allowed}
    best = best_wheel(permitted, platform, python)
    if best is not None:
        return permitted[best]
    if best_wheel(by_file, platform, python) is not None:
        message = f"none of the hashes of {package.name} fits a wheel of {package.version} for {platform}"
        raise fail(where, message, "correct the --hash options, or remove them: func.lock holds hashes of its own")
    files = sorted(by_file) or available(package.name, indexes)
    raise no_wheel(where, package.name, package.version, platform, python, files)
