"""The same inputs give the same image, whoever builds it, where and when."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from support.builds import ROOT, Builder, copied, example_in, set_times, wheels_alone
from support.pythons import other_python, others_here

REPOSITORY = "same/all"  # one for all tests: what is the same does not travel again
pytestmark = pytest.mark.timeout(300)  # the first test may be the one that fetches packages


@pytest.fixture(scope="module")
def project(builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = example_in(tmp_path_factory.mktemp("same"))
    builder.lock(folder)
    return folder


@pytest.fixture(scope="module")
def digest(builder: Builder, project: Path) -> str:
    return builder.build(project, REPOSITORY).digest


def test_again(builder: Builder, project: Path, digest: str) -> None:
    assert digest == builder.build(project, REPOSITORY, "--locked").digest


def test_in_another_folder_at_another_time_in_another_mood(
    builder: Builder, project: Path, digest: str, tmp_path: Path
) -> None:
    other = copied(project, tmp_path / "somewhere" / "else")
    set_times(other, 1_000_000_000)
    moods = {"TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "7", "LC_ALL": "C.UTF-8", "HOME": str(tmp_path)}
    assert digest == builder.build(other, REPOSITORY, umask=0o077, **moods).digest


def test_modes_that_a_checkout_may_have_do_not_count(
    builder: Builder, project: Path, digest: str, tmp_path: Path
) -> None:
    other = copied(project, tmp_path / "copy")
    for path in other.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert digest == builder.build(other, REPOSITORY).digest


def test_with_a_cold_cache(builder: Builder, project: Path, digest: str, tmp_path: Path) -> None:
    other = copied(project, tmp_path / "copy")
    assert digest == builder.build(other, REPOSITORY, UPON_CACHE=str(tmp_path / "cache")).digest


def test_without_the_lock(builder: Builder, project: Path, digest: str, tmp_path: Path) -> None:
    other = copied(project, tmp_path / "copy")
    lock = (other / "func.lock").read_bytes()
    (other / "func.lock").unlink()
    assert digest == builder.build(other, REPOSITORY).digest
    assert lock == (other / "func.lock").read_bytes()


@pytest.mark.parametrize("version", others_here())
def test_by_another_python(builder: Builder, project: Path, digest: str, tmp_path: Path, version: str) -> None:
    other = copied(project, tmp_path / "copy")
    python = other_python(version)
    strange = replace(
        builder, cache=wheels_alone(builder.cache, tmp_path / "cache"), command=[str(python), "-m", "upon"]
    )
    assert digest == strange.build(other, REPOSITORY).digest


def test_out_of_clones_of_one_commit(builder: Builder, project: Path, tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("no git here: apt-get install -y git")
    first = copied(project, tmp_path / "first")
    shutil.copy(ROOT / ".gitignore", first) if (ROOT / ".gitignore").is_file() else None
    git(first, "init", "-q", "-b", "main")
    git(first, "add", ".")
    git(first, "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-q", "-m", "All")
    git(tmp_path, "clone", "-q", str(first), "second")
    digests = {builder.build(tmp_path / name, REPOSITORY).digest for name in ("first", "second")}
    assert 1 == len(digests)


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def test_source_date_epoch_is_the_time_of_everything(builder: Builder, project: Path, digest: str) -> None:
    dated = builder.build(project, REPOSITORY, SOURCE_DATE_EPOCH="1700000000").digest
    assert dated != digest
    assert dated == builder.build(project, REPOSITORY, SOURCE_DATE_EPOCH="1700000000").digest
