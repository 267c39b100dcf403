"""The lock that a build goes by: func.lock as it is, or made where there is none, with the base's digest in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from upon_build.lock.freshness import check_fresh
from upon_build.lock.lockfile import NAME, Lock, LockedBase, read_lock, write_lock
from upon_build.lock.models import lock_models
from upon_build.lock.requirements import Requirements, read_requirements
from upon_build.project.problems import Problem

if TYPE_CHECKING:
    from upon_build.image.assembly.base import Base
    from upon_build.image.plan import BuildOptions
    from upon_build.image.store import Store
    from upon_build.project import Project


def find_lock(
    project: Project, options: BuildOptions, store: Store, models: Callable[[], Sequence[str]]
) -> tuple[Lock, Requirements]:
    """The lock with what it has to fit; its models are checked later, by `check_models`.

    models: their paths, asked for where a lock has to be made. Raises ProjectError for a stale lock.
    """
    lock = read_lock(project.folder)
    if lock is None and not options.locked:
        from upon_build.lock.locking import relock

        options.tell(f"there is no {NAME} yet: resolving the packages for it")
        made = relock(
            project,
            platforms=options.platforms,
            python=options.python,
            store=store,
            models=models(),
            env=options.env,
        )
        for note in made.requirements.notes:
            options.tell(f"note: {note}")
        options.tell(f"wrote {NAME}: commit it")
        return made.lock, made.requirements
    requirements = read_requirements(project, platforms=options.platforms, python=options.python, lock=lock)
    return check_fresh(project.folder, lock, requirements, lock.models if lock else ()), requirements


def check_models(project: Project, lock: Lock, requirements: Requirements, paths: Sequence[str], store: Store) -> None:
    """Raises ProjectError where the models of the project are not those of the lock."""
    check_fresh(project.folder, lock, requirements, lock_models(project.folder, paths, store))


def pin_bases(project: Project, lock: Lock, reference: str, bases: Sequence[Base], options: BuildOptions) -> Lock:
    """Write the bases of this reference into func.lock, in place of those of another one.

    A base from the command line is not the project's, and a lock that must not change is left with a warning.
    """
    if options.base or "@" in reference:
        return lock
    kept = {base.platform: base for base in lock.bases if base.reference == reference}
    kept |= {base.platform: LockedBase(reference, base.platform, base.digest) for base in bases}
    pinned = replace(lock, bases=tuple(sorted(kept.values())))
    if pinned == lock or not options.locked:
        write_lock(project.folder, pinned)
        return pinned
    message = f"the lock does not hold the digest of the base {reference!r}, whose tag may move"
    options.warn(Problem("warning", NAME, message, "run `func build` once without --locked, and commit it"))
    return lock
