from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from upon_build.lock.changes import Change, changes
from upon_build.lock.freshness import check_fresh
from upon_build.lock.lockfile import Lock, LockedModel, Package
from upon_build.lock.requirements import Requirements
from upon_build.project import ProjectError

AMD, ARM = "linux/amd64", "linux/arm64"
WANTED = Requirements(("a", "b>=1"), "3.11", (AMD,), constraints=("c<2",))
MODEL = LockedModel("m.onnx", "1" * 64, 1)
LOCK = Lock("3.11", (AMD, ARM), WANTED.inputs((AMD, ARM)), (), (MODEL,), "package", ("a", "b>=1"), ("c<2",))


def stale(requirements: Requirements = WANTED, models: list[LockedModel] | None = None) -> str:
    with pytest.raises(ProjectError) as caught:
        check_fresh(Path("/x"), LOCK, requirements, [MODEL] if models is None else models)
    return str(caught.value)


def test_a_lock_for_more_platforms_fits() -> None:
    assert LOCK is check_fresh(Path("/x"), LOCK, WANTED, [MODEL])


def test_there_is_no_lock() -> None:
    with pytest.raises(ProjectError, match=r"func\.lock: there is no func\.lock in /x: run `func lock`"):
        check_fresh(Path("/x"), None, WANTED, [])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"lines": ("a", "b>=2")}, "the requirement 'b>=2' is not in the lock: run `func lock`"),
        ({"lines": ("a", "b>=2")}, "the requirement 'b>=1' is in the lock, and no longer in the project: run"),
        ({"constraints": ()}, "the constraint 'c<2' is in the lock, and no longer in the project"),
        (
            {"python": "3.12"},
            "for Python 3.11, and the image has 3.12: run `func lock --python 3.12`, or build for 3.11",
        ),
        (
            {"upon": "checkout"},
            "the lock takes Upon from an index, and here it comes from its checkout: run `func lock`",
        ),
        ({"hashes": {"a": frozenset({"0"})}}, "what the lock was made from has changed: run `func lock`"),
        ({"gpu": True}, "what the lock was made from has changed: run `func lock`"),
    ],
)
def test_what_changed_is_said(more: dict[str, Any], said: str) -> None:
    assert said in stale(replace(WANTED, **more))


def test_a_platform_that_is_not_in_the_lock() -> None:
    lock = replace(LOCK, platforms=(AMD,))
    with pytest.raises(ProjectError) as caught:
        check_fresh(Path("/x"), lock, replace(WANTED, platforms=(ARM,)), [MODEL])
    expected = (
        "func.lock: the lock is for linux/amd64, not for linux/arm64:"
        " run `func lock --platform linux/amd64 --platform linux/arm64`"
    )
    assert expected == str(caught.value)


def test_models() -> None:
    assert "the model 'm.onnx' is in the lock, and no longer in the project: run `func lock`" in stale(models=[])
    other = LockedModel("n.onnx", "2" * 64, 1)
    assert "func.lock: the model 'n.onnx' is not in the lock: run `func lock`" == stale(models=[MODEL, other])
    said = stale(models=[replace(MODEL, sha256="3" * 64)])
    assert "the model 'm.onnx' changed: its SHA-256 is 333333333333…, the lock has 111111111111…" in said
    assert "run `func lock`, or restore the file" in said


def test_changes_between_two_locks() -> None:
    old = Package("a", "1", (AMD,), "a-1-py3-none-any.whl", "1" * 64, 1)
    arm = replace(old, version="2", platforms=(ARM,), file="a-2-py3-none-any.whl")
    rebuilt = replace(old, name="r", sha256="2" * 64)
    before = replace(LOCK, packages=(old, replace(old, name="gone"), replace(old, name="r"), replace(old, name="same")))
    after = replace(
        LOCK,
        packages=(old, arm, replace(old, name="new"), rebuilt, replace(old, name="same")),
        models=(LockedModel("n.onnx", "2" * 64, 1),),
    )
    assert [
        Change("changed", "package", "a", "1", "1, 2"),
        Change("removed", "package", "gone", "1"),
        Change("added", "package", "new", "", "1"),
        Change("changed", "package", "r", "1", "1"),
        Change("removed", "model", "m.onnx", "1" * 12),
        Change("added", "model", "n.onnx", "", "2" * 12),
    ] == changes(before, after)
    assert [] == changes(after, after)
    assert 5 == len(changes(None, after))


def test_one_more_platform_is_no_change_of_its_packages() -> None:
    old = Package("a", "1", (AMD,), "a-1-cp311-cp311-linux_x86_64.whl", "1" * 64, 1)
    new = Package("a", "1", (ARM,), "a-1-cp311-cp311-linux_aarch64.whl", "2" * 64, 1)
    before = replace(LOCK, platforms=(AMD,), packages=(old,))
    assert [] == changes(before, replace(LOCK, packages=(old, new)))
