from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.package_index import PackageIndex, package_index
from upon_build.image.store import Store
from upon_build.lock.indexes import Indexes
from upon_build.lock.lockfile import Lock
from upon_build.lock.locking import lock_requirements
from upon_build.lock.requirements import Requirements
from upon_build.lock.resolving import find_uv, resolve
from upon_build.lock.web import IndexUnavailable
from upon_build.project import ProjectError

AMD, ARM = "linux/amd64", "linux/arm64"
UV = find_uv()


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with package_index() as found:
        yield found


def lock(
    index: PackageIndex,
    folder: Path,
    *lines: str,
    before: Lock | None = None,
    env: Mapping[str, str] | None = None,
    **more: Any,
) -> Lock:
    upgrade, store = more.pop("upgrade", False), more.pop("store", None)
    more = {"python": "3.11", "platforms": (AMD,), "source": "requirements.txt", **more}
    wanted = Requirements(tuple(sorted(lines)), **more)
    env = {**index.environment(folder), **(env or {})}
    indexes = Indexes.from_env(env, [])
    return lock_requirements(wanted, before, upgrade=upgrade, store=store, env=env, indexes=indexes)


def refused(index: PackageIndex, folder: Path, *lines: str, **more: Any) -> str:
    with pytest.raises(ProjectError) as caught:
        lock(index, folder, *lines, **more)
    return str(caught.value)


def versions(lock: Lock) -> dict[str, str]:
    return {package.name: package.version for package in lock.packages}


def test_files_for_the_target_and_not_for_this_machine(index: PackageIndex, tmp_path: Path) -> None:
    for tag in (
        "cp311-cp311-manylinux_2_28_x86_64",
        "cp311-cp311-manylinux_2_17_aarch64",
        "py3-none-any",
        "cp311-cp311-win32",
    ):
        index.add("native", "1.0", tag=tag, requires=("pure>=1", "elsewhere; sys_platform == 'win32'"))
    index.add("pure", "1.5")
    found = lock(index, tmp_path, "native", platforms=(AMD, ARM))
    assert [
        ("native", (AMD,), "native-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"),
        ("native", (ARM,), "native-1.0-cp311-cp311-manylinux_2_17_aarch64.whl"),
        ("pure", (AMD, ARM), "pure-1.5-py3-none-any.whl"),
    ] == [(one.name, one.platforms, one.file) for one in found.packages]
    assert all((index.sha256(one.file), len(index.files[one.file])) == (one.sha256, one.size) for one in found.packages)


@pytest.mark.parametrize("style", ["html", "bare"])
def test_pages_without_sizes_or_hashes_give_the_same_lock(index: PackageIndex, tmp_path: Path, style: str) -> None:
    index.add("a", "1.0", requires=("b",))
    index.add("b", "2.0")
    expected = lock(index, tmp_path / "json", "a").to_bytes()
    index.style = style  # type: ignore[assignment]
    assert expected == lock(index, tmp_path / "one", "a").to_bytes()
    assert expected == lock(index, tmp_path / "two", "a", store=Store(tmp_path / "cache")).to_bytes()


def test_a_folder_in_place_of_an_index(index: PackageIndex, tmp_path: Path) -> None:
    index.add("a", "1.0")
    expected = lock(index, tmp_path, "a").to_bytes()
    (tmp_path / "links").mkdir()
    for file, content in index.files.items():
        (tmp_path / "links" / file).write_bytes(content)
    index.asked.clear()
    env = {"UV_FIND_LINKS": str(tmp_path / "links"), "PIP_NO_INDEX": "1", "UV_CACHE_DIR": str(tmp_path / "other")}
    assert expected == lock(index, tmp_path, "a", env=env).to_bytes()
    assert [] == index.asked


def test_versions_stay_until_an_upgrade(index: PackageIndex, tmp_path: Path) -> None:
    index.add("a", "1.0")
    index.add("b", "1.0")
    first = lock(index, tmp_path, "a")
    index.add("a", "2.0")
    assert {"a": "1.0", "b": "1.0"} == versions(lock(index, tmp_path / "b", "a", "b", before=first))
    assert {"a": "2.0"} == versions(lock(index, tmp_path / "c", "a", before=first, upgrade=True))
    assert {"a": "2.0"} == versions(lock(index, tmp_path / "d", "a>1", before=first))
    both = lock(index, tmp_path / "e", "a", before=first, platforms=(AMD, ARM))
    assert [("1.0", (AMD, ARM))] == [(one.version, one.platforms) for one in both.packages]


def test_what_fits_is_taken_as_it_is(index: PackageIndex, tmp_path: Path) -> None:
    index.add("a", "1.0")
    first = lock(index, tmp_path, "a")
    index.asked.clear()
    assert first is lock(index, tmp_path, "a", before=first)
    assert [] == index.asked


def test_the_persons_own_uv_variables_change_nothing(index: PackageIndex, tmp_path: Path) -> None:
    index.add("a", "1.0")
    index.add("a", "2.0rc1")
    (tmp_path / "c.txt").write_text("a<1")
    env = {"UV_CONSTRAINT": str(tmp_path / "c.txt"), "UV_PRERELEASE": "allow", "UV_RESOLUTION": "lowest"}
    assert {"a": "1.0"} == versions(lock(index, tmp_path, "a", env=env))


def test_constraints_and_what_is_left_out(index: PackageIndex, tmp_path: Path) -> None:
    for name in ("onnxruntime", "upon"):
        index.add(name, "9.9")
    index.add("a", "1.0", requires=("upon", "onnxruntime"))
    index.add("a", "2.0")
    found = lock(index, tmp_path, "a", constraints=("a<2",), gpu=True, upon="checkout")
    assert {"a": "1.0"} == versions(found)
    assert ("a<2",) == found.constraints


def test_a_package_without_a_wheel_for_the_target(index: PackageIndex, tmp_path: Path) -> None:
    index.add("native", "1.0", tag="cp311-cp311-manylinux_2_28_x86_64")
    index.add("native", "0.9", tag="cp311-cp311-win32")
    expected = (
        "requirements.txt: native has no wheel for linux/arm64 and Python 3.11; there is"
        " native-1.0-cp311-cp311-manylinux_2_28_x86_64.whl: choose another version, Python (--python) or package, or"
        " publish a wheel of it to an index of yours"
    )
    assert expected == refused(index, tmp_path, "native", platforms=(ARM,))


def test_a_package_with_sources_alone(index: PackageIndex, tmp_path: Path) -> None:
    index.files["old-1.0.tar.gz"] = b"sources"
    said = refused(index, tmp_path, "old")
    assert "old has no wheel for linux/amd64 and Python 3.11; there is old-1.0.tar.gz: choose" in said


def test_a_dependency_of_a_dependency_without_a_wheel(index: PackageIndex, tmp_path: Path) -> None:
    index.add("top", "1.0", requires=("deep",))
    index.add("deep", "3.0", tag="cp312-cp312-manylinux_2_28_x86_64")
    assert "deep has no wheel for linux/amd64 and Python 3.11; there is deep-3.0-cp312" in refused(
        index, tmp_path, "top"
    )


def test_a_package_that_nobody_has(index: PackageIndex, tmp_path: Path) -> None:
    expected = f"requirements.txt: the package 'nump' is not at {index.url}: correct its name, or set UV_INDEX"
    assert refused(index, tmp_path, "nump").startswith(expected)


def test_requirements_that_contradict_each_other(index: PackageIndex, tmp_path: Path) -> None:
    index.add("a", "1.0", requires=("b>=2",))
    index.add("b", "1.0")
    index.add("b", "2.0")
    said = refused(index, tmp_path, "a", "b<2")
    assert "the requirements can't be met for linux/amd64 and Python 3.11" in said
    assert "b>=2" in said
    assert str(tmp_path) not in said


def test_hashes_of_the_project_decide(index: PackageIndex, tmp_path: Path) -> None:
    plain = index.add("a", "1.0")
    index.add("a", "1.0", tag="cp311-cp311-manylinux_2_28_x86_64")
    found = lock(index, tmp_path, "a==1.0", hashes={"a": frozenset({index.sha256(plain)})})
    assert [plain] == [package.file for package in found.packages]
    said = refused(index, tmp_path, "a==1.0", hashes={"a": frozenset({"0" * 64})})
    assert "none of the hashes of a fits a wheel of 1.0 for linux/amd64" in said


def test_an_index_that_wants_credentials(index: PackageIndex, tmp_path: Path) -> None:
    index.add("a", "1.0")
    index.user = "me:pw"
    with pytest.raises(IndexUnavailable, match=f"{index.address} does not let us in: it answers 401; put the cred"):
        lock(index, tmp_path, "a")
    with pytest.raises(IndexUnavailable) as caught:
        lock(index, tmp_path, "a", env={"UV_DEFAULT_INDEX": index.url.replace("//", "//me:secret@")})
    assert "secret" not in str(caught.value)
    env = {"UV_DEFAULT_INDEX": index.url.replace("//", "//me:pw@")}
    assert b"pw" not in lock(index, tmp_path, "a", env=env).to_bytes()


def test_no_network(tmp_path: Path) -> None:
    with package_index() as index:
        pass
    with pytest.raises(IndexUnavailable, match=rf"{index.address} can't be reached: .*; check the network"):
        lock(index, tmp_path, "a", env={"UV_HTTP_RETRIES": "0"})


def test_the_deadline(index: PackageIndex, tmp_path: Path) -> None:
    env = index.environment(tmp_path)
    wanted = Requirements(("a",), "3.11", (AMD,))
    with pytest.raises(TimeoutError, match="uv did not resolve the requirements within"):
        resolve(wanted, AMD, Indexes.from_env(env, []), UV, preferred={}, env=env, timeout=0.001)


def test_the_same_lock_from_other_machines(index: PackageIndex, tmp_path: Path) -> None:
    for number in range(6):
        index.add(f"p{number}", "1.0", requires=("shared",))
    index.add("shared", "1.0")
    lines = [f"p{number}" for number in range(6)]
    one = lock(index, tmp_path / "a", *lines, env={"TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8"})
    two = lock(index, tmp_path / "b", *reversed(lines), env={"TZ": "UTC"})
    assert one.to_bytes() == two.to_bytes()


def test_real_packages_for_both_platforms(tmp_path: Path) -> None:
    """Against the index that this machine is set up for."""
    wanted = Requirements(("numpy<3,>=1.26", "onnxruntime<2,>=1.20"), "3.12", (AMD, ARM))
    try:
        found = lock_requirements(wanted, env=os.environ)
    except IndexUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{error}")
    for name in ("numpy", "onnxruntime"):
        files = {one.platforms: one.file for one in found.packages if one.name == name}
        assert {(AMD,), (ARM,)} == set(files)
        assert "x86_64" in files[AMD,]
        assert "aarch64" in files[ARM,]
        assert all("-cp312-" in file for file in files.values())
