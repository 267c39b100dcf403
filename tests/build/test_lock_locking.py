from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.func import func
from support.package_index import PackageIndex, package_index
from support.projects import HEAD, write_project
from upon_build.image.store import Store
from upon_build.lock.lockfile import Lock, LockedBase, read_lock, write_lock
from upon_build.lock.locking import check_fresh, lock_models, relock
from upon_build.lock.ours import Ours
from upon_build.lock.requirements import read_requirements
from upon_build.lock.wheels import fetch_wheels
from upon_build.project import ProjectError, read_project

AMD, ARM = "linux/amd64", "linux/arm64"
MODEL_APP = """\
import upon
model = upon.Model('m', 'models/m.onnx')
@upon.http('POST /x')
def score(event): return model(x=1.0)
"""


@pytest.fixture(autouse=True)
def release(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with an installed Upon: what its checkout needs is another matter."""
    monkeypatch.setattr("upon_build.lock.requirements.find_ours", lambda: Ours("1.0", None))


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PackageIndex]:
    with package_index() as found:
        found.add("upon", "1.0", requires=("click",))
        found.add("click", "8.0")
        for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_FIND_LINKS", "FUNC_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in found.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "demo" / "models").mkdir(parents=True)
    (tmp_path / "demo" / "models" / "m.onnx").write_bytes(b"weights")
    return write_project(tmp_path / "demo", HEAD, MODEL_APP)


def lock(folder: Path, **more: object) -> Lock:
    return lock_project(folder, models=["models/m.onnx"], **more)


def lock_project(folder: Path, **more: object) -> Lock:
    return relock(read_project(folder, default_profile="prod"), **more).lock  # type: ignore[arg-type]


def test_packages_and_models_are_locked(index: PackageIndex, folder: Path, tmp_path: Path) -> None:
    (folder / "requirements.txt").write_text("numpy>=1\n")
    index.add("numpy", "1.0")
    found = lock_project(folder, store=Store(tmp_path / "cache"))
    assert found == read_lock(folder)
    assert ["click", "numpy", "upon"] == [package.name for package in found.packages]
    assert [("models/m.onnx", 7)] == [(model.path, model.size) for model in found.models]
    assert ("numpy>=1", "upon[cpu,kafka,serve]==1.0") == found.requirements
    text = (folder / "func.lock").read_text()
    for private in (str(tmp_path), index.address, "http"):
        assert private not in text
    wheels = fetch_wheels(found, AMD, Store(tmp_path / "cache"))
    assert ["click", "numpy", "upon"] == [wheel.name for wheel in wheels]


def test_locking_again_changes_nothing_and_asks_nobody(index: PackageIndex, folder: Path) -> None:
    lock(folder)
    before = (folder / "func.lock").read_bytes()
    index.add("click", "9.0")
    index.asked.clear()
    again = relock(read_project(folder), models=["models/m.onnx"])
    assert not again.written
    assert before == (folder / "func.lock").read_bytes()
    assert [] == index.asked
    assert "9.0" in {package.version for package in lock(folder, upgrade=True).packages}


def test_a_changed_model_alone_resolves_nothing(index: PackageIndex, folder: Path) -> None:
    first = lock(folder)
    (folder / "models" / "m.onnx").write_bytes(b"other weights")
    index.asked.clear()
    second = lock(folder)
    assert [] == index.asked
    assert (first.packages, 13) == (second.packages, second.models[0].size)


def test_bases_that_a_build_has_pinned_stay_until_an_upgrade(index: PackageIndex, folder: Path) -> None:
    pinned = LockedBase("docker.io/library/python:3.11-slim", AMD, "sha256:" + "0" * 64)
    write_lock(folder, replace(lock(folder), bases=(pinned,)))
    (folder / "requirements.txt").write_text("click<9\n")
    assert (pinned,) == lock(folder).bases
    assert () == lock(folder, upgrade=True).bases


def test_a_lock_keeps_its_python_and_platforms(index: PackageIndex, folder: Path) -> None:
    lock(folder, python="3.13", platforms=[ARM, AMD])
    (folder / "requirements.txt").write_text("click\n")
    again = lock(folder)
    assert ("3.13", (AMD, ARM)) == (again.python, again.platforms)


def test_fresh_until_something_changes(index: PackageIndex, folder: Path) -> None:
    found = lock(folder)

    def check() -> None:
        models = lock_models(folder, ["models/m.onnx"])
        check_fresh(folder, found, read_requirements(read_project(folder), lock=found), models)

    check()
    (folder / "requirements.txt").write_text("numpy\n")
    with pytest.raises(ProjectError, match=r"func\.lock: the requirement 'numpy' is not in the lock: run `func lock`"):
        check()
    (folder / "requirements.txt").unlink()
    (folder / "models" / "m.onnx").write_bytes(b"retrained")
    with pytest.raises(ProjectError, match=r"the model 'models/m\.onnx' changed: .*: run `func lock`, or restore"):
        check()


def test_a_model_that_is_missing_or_outside_is_refused(index: PackageIndex, folder: Path) -> None:
    for path in ("models/gone.onnx", "../outside.onnx"):
        with pytest.raises(ProjectError, match=path.rpartition("/")[2]):
            lock_project(folder, models=[path])
    assert not (folder / "func.lock").exists()


def test_code_that_can_not_be_imported(index: PackageIndex, folder: Path) -> None:
    (folder / "app.py").write_text("import nothing_like_it\n")
    with pytest.raises(ProjectError, match="nothing_like_it"):
        lock_project(folder)
    assert not (folder / "func.lock").exists()


# The command: in a process of its own, where Upon comes from wherever it really comes from


@pytest.fixture
def everything(index: PackageIndex) -> PackageIndex:
    """Made-up packages in place of all that Upon needs."""
    from upon_build.lock.ours import find_ours
    from upon_build.lock.requirement import name_of

    for line in [*find_ours().lines(["cpu", "kafka", "serve"]), "upon"]:
        bound = line.partition(">=")[2].partition(",")[0] or line.partition("==")[2] or "1.0"
        index.add(name_of(line), bound)
    return index


def test_the_command(everything: PackageIndex, folder: Path, tmp_path: Path) -> None:
    env = {**everything.environment(tmp_path), "UPON_CACHE": str(tmp_path / "cache")}
    first = func("lock", cwd=folder, **env)
    assert (0, "") == (first.returncode, first.stderr)
    assert "demo, profile prod (default)" == first.stdout.splitlines()[0]
    assert "  + click " in first.stdout
    assert "  + model models/m.onnx " in first.stdout
    assert first.stdout.splitlines()[-1].startswith("Wrote func.lock: ")
    content = (folder / "func.lock").read_bytes()
    everything.asked.clear()
    second = func("lock", "-o", "json", cwd=folder, PYTHONHASHSEED="7", TZ="Asia/Tokyo", **env)
    said = json.loads(second.stdout)
    assert (0, False, []) == (second.returncode, said["written"], said["changes"])
    assert ([{"path": "models/m.onnx"}], [AMD]) == (
        [{"path": one["path"]} for one in said["models"]],
        said["platforms"],
    )
    assert [] == everything.asked
    assert content == (folder / "func.lock").read_bytes()
    third = func("lock", ".", cwd=folder, **env)
    assert third.stdout.splitlines()[-1].startswith("func.lock is up to date: ")


@pytest.mark.parametrize(
    ("arguments", "requirements", "code", "said"),
    [
        ((), "-e .\n", 2, "Error: requirements.txt:1: '-e .' is refused: an image needs wheels from an index"),
        ((), "nowhere-to-be-found\n", 2, "Error: requirements.txt: the package 'nowhere-to-be-found' is not at"),
        (("--platform", "linux/s390x"), "", 2, "Error: --platform: there are no wheels for the platform 'linux/s390x'"),
        (("--python", "three"), "", 2, "Error: --python: 'three' is no version of Python: write it as in 3.12"),
    ],
)
def test_the_command_refuses(
    everything: PackageIndex,
    folder: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    requirements: str,
    code: int,
    said: str,
) -> None:
    (folder / "requirements.txt").write_text(requirements)
    env = {**everything.environment(tmp_path), "UPON_CACHE": str(tmp_path / "cache")}
    done = func("lock", *arguments, cwd=folder, **env)
    assert code == done.returncode
    assert done.stderr.startswith(said)
    assert not (folder / "func.lock").exists()


def test_the_command_without_a_network(folder: Path, tmp_path: Path) -> None:
    with package_index() as index:
        env = index.environment(tmp_path)
    done = func("lock", cwd=folder, UV_HTTP_RETRIES="0", UPON_CACHE=str(tmp_path / "cache"), **env)
    assert 4 == done.returncode
    assert done.stderr.startswith(f"Error: {index.address} can't be reached: ")
    assert 1 == len(done.stderr.splitlines())
