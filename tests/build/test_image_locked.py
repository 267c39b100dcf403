"""func.lock holds the digest of the project's base, so that a tag that moves does not change the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.projects import read, write_project
from upon_build.image.assembly.base import Base
from upon_build.image.locked import pin_bases
from upon_build.image.plan import BuildOptions
from upon_build.lock.lockfile import Lock, LockedBase, read_lock
from upon_build.project import Problem, Project

NAME = "docker.io/library/python:3.11-slim"
AMD64, ARM64 = "linux/amd64", "linux/arm64"


def locked(*bases: LockedBase) -> Lock:
    return Lock("3.11", (AMD64,), "0" * 64, (), bases=bases)


def pinned(platform: str, number: int, reference: str = NAME) -> LockedBase:
    return LockedBase(reference, platform, f"sha256:{number:064x}")


def base(platform: str, number: int) -> Base:
    return Base(NAME, f"sha256:{number:064x}", platform, {}, ())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return read(write_project(tmp_path))


def pin(project: Project, lock: Lock, *bases: Base, reference: str = NAME, **options: Any) -> Lock:
    return pin_bases(project, lock, reference, bases, BuildOptions(**options))


def test_the_bases_are_written(project: Project) -> None:
    done = pin(project, locked(), base(AMD64, 1), base(ARM64, 2))

    assert (pinned(AMD64, 1), pinned(ARM64, 2)) == done.bases
    assert done == read_lock(project.folder)
    assert f"sha256:{1:064x}" == done.base_digest(NAME, AMD64)


def test_other_platforms_stay_and_another_base_goes(project: Project) -> None:
    before = locked(pinned(ARM64, 2), pinned(AMD64, 3, "elsewhere.example/python:3"))

    assert (pinned(AMD64, 1), pinned(ARM64, 2)) == pin(project, before, base(AMD64, 1)).bases
    assert before.base_digest(NAME, AMD64) is None


@pytest.mark.parametrize(("reference", "options"), [(NAME, {"base": NAME}), (f"{NAME}@sha256:{1:064x}", {})])
def test_what_is_not_the_projects_or_has_a_digest_anyway_is_not_written(
    reference: str, options: dict[str, Any], project: Project
) -> None:
    assert locked() == pin(project, locked(), base(AMD64, 1), reference=reference, **options)
    assert read_lock(project.folder) is None


def test_a_lock_that_must_not_change_is_left_with_a_warning(project: Project) -> None:
    warnings: list[Problem] = []
    done = pin(project, locked(), base(AMD64, 1), locked=True, warn=warnings.append)
    same = pin(project, locked(pinned(AMD64, 1)), base(AMD64, 1), locked=True, warn=warnings.append)

    assert ((), (pinned(AMD64, 1),)) == (done.bases, same.bases)
    assert [f"the lock does not hold the digest of the base {NAME!r}, whose tag may move"] == [
        one.message for one in warnings
    ]
