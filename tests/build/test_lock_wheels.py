from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.package_index import PackageIndex, package_index
from upon_build.image.store import Store
from upon_build.lock.indexes import Indexes
from upon_build.lock.lockfile import Lock, Package
from upon_build.lock.web import IndexFault, IndexUnavailable, Web
from upon_build.lock.wheels import Wheel, fetch_wheels
from upon_build.project import ProjectError

AMD, ARM = "linux/amd64", "linux/arm64"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PackageIndex]:
    with package_index() as found:
        for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_FIND_LINKS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in found.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def lock_of(index: PackageIndex, *files: str, platforms: tuple[str, ...] = (AMD,)) -> Lock:
    packages = [
        Package(*file.split("-")[:2], platforms, file, index.sha256(file), len(index.files[file])) for file in files
    ]
    return Lock("3.11", (AMD, ARM), "0" * 64, tuple(sorted(packages)))


class Told:
    """A progress display that remembers."""

    def __init__(self) -> None:
        self.tasks: list[list[object]] = []

    def begin(self, what: str, total: int) -> int:
        self.tasks.append([what, total, 0, False])
        return len(self.tasks) - 1

    def advance(self, task: int, done: int) -> None:
        self.tasks[task][2] += done  # type: ignore[operator]

    def end(self, task: int) -> None:
        self.tasks[task][3] = True


def test_wheels_come_once_and_then_nobody_is_asked(index: PackageIndex, store: Store) -> None:
    files = [index.add(f"p{number}", "1.0", payload=b"x" * number) for number in range(12)]
    lock = lock_of(index, *files)
    told = Told()
    found = fetch_wheels(lock, AMD, store, told)
    assert [(one.name, one.version, one.sha256) for one in lock.packages] == [
        (one.name, one.version, one.sha256) for one in found
    ]
    assert [index.files[one.path.name] for one in found] == [one.path.read_bytes() for one in found]
    assert 24 == len(index.asked)
    assert all(total == done and ended for _, total, done, ended in told.tasks)
    index.asked.clear()
    assert found == fetch_wheels(lock, AMD, store, told)
    assert [] == index.asked
    assert 12 == len(told.tasks)


def test_a_warm_cache_needs_no_network(index: PackageIndex, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = lock_of(index, index.add("a", "1"))
    (wheel,) = fetch_wheels(lock, AMD, store)
    monkeypatch.setattr(Web, "get", None)
    assert [Wheel(wheel.path, "a", "1", index.sha256(wheel.path.name))] == fetch_wheels(lock, AMD, store)


def test_only_what_is_missing_or_cut_is_fetched(index: PackageIndex, store: Store) -> None:
    a, b = index.add("a", "1"), index.add("b", "1")
    lock = lock_of(index, a, b)
    wheels = {wheel.name: wheel for wheel in fetch_wheels(lock, AMD, store)}
    wheels["a"].path.write_bytes(b"cut")
    index.asked.clear()
    fetch_wheels(lock, AMD, store)
    assert ["/simple/a/", f"/files/{a}"] == index.asked
    assert index.files[a] == wheels["a"].path.read_bytes()


def test_a_yanked_file_is_still_there_for_a_lock(index: PackageIndex, store: Store) -> None:
    file = index.add("a", "1")
    index.yanked.add(file)
    assert 1 == len(fetch_wheels(lock_of(index, file), AMD, store))


def test_from_folders_and_through_plain_pages(
    index: PackageIndex, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.style = "bare"
    a, b = index.add("a", "1"), index.add("b", "1")
    lock = lock_of(index, a, b)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / a).write_bytes(index.files.pop(a))
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "links"))
    assert 2 == len(fetch_wheels(lock, AMD, store))
    assert ["/simple/b/", f"/files/{b}"] == index.asked


def test_another_index_has_it(index: PackageIndex, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One index is shut and one has another file of that name: the third one's fits the hash."""
    file = index.add("a", "1")
    lock = lock_of(index, file)
    with package_index(user="me:pw") as shut, package_index() as other:
        other.add("a", "1", payload=b"other")
        monkeypatch.setenv("UV_INDEX", f"{shut.url} {other.url}")
        assert 1 == len(fetch_wheels(lock, AMD, store))
        assert [f"/files/{file}"] == [path for path in (*shut.asked, *other.asked, *index.asked) if "files" in path]


def test_the_platform_is_not_in_the_lock(index: PackageIndex, store: Store) -> None:
    lock = Lock("3.11", (AMD,), "0" * 64, ())
    with pytest.raises(ProjectError, match=r"func\.lock: the lock is for linux/amd64, not for 'linux/arm64': run"):
        fetch_wheels(lock, ARM, store)


def test_each_platform_has_its_own_files(index: PackageIndex, store: Store) -> None:
    a = index.add("a", "1")
    b = index.add("b", "1", tag="cp311-cp311-manylinux_2_28_aarch64")
    lock = lock_of(index, a, platforms=(AMD, ARM))
    lock = Lock("3.11", (AMD, ARM), "0", (*lock.packages, *lock_of(index, b, platforms=(ARM,)).packages))
    assert (["a"], ["a", "b"]) == tuple([one.name for one in fetch_wheels(lock, on, store)] for on in (AMD, ARM))


def test_no_index_has_the_file(index: PackageIndex, store: Store) -> None:
    lock = lock_of(index, index.add("a", "1"))
    index.files.clear()
    with pytest.raises(ProjectError) as caught:
        fetch_wheels(lock, AMD, store)
    expected = f"func.lock: a-1-py3-none-any.whl is not at {index.url}: configure the index that has it"
    assert str(caught.value).startswith(expected)


def test_the_index_says_itself_that_it_is_another_file(index: PackageIndex, store: Store) -> None:
    lock = lock_of(index, index.add("a", "1"))
    index.add("a", "1", payload=b"rebuilt")
    with pytest.raises(IndexFault, match=rf"{index.url}/a/ offers another a-1-py3-none-any\.whl than func\.lock names"):
        fetch_wheels(lock, AMD, store)
    assert ["/simple/a/"] == index.asked


def test_a_page_that_is_no_index(index: PackageIndex, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = lock_of(index, index.add("a", "1"))
    monkeypatch.setattr(index, "page", lambda package: ("application/json", b'{"hello": 1}'))
    with pytest.raises(IndexFault, match="is no page of a package index: check the index's address"):
        fetch_wheels(lock, AMD, store)


def test_the_first_failure_is_told_and_ends_the_others(index: PackageIndex, store: Store) -> None:
    files = [index.add(f"p{number}", "1.0", payload=b"x" * 100) for number in range(30)]
    lock = lock_of(index, *files)
    index.statuses["/simple/p7/"] = [403] * 9
    web = Web(Indexes.from_env(), backoff=0.01)
    with pytest.raises(IndexUnavailable, match="does not let us in: it answers 403"):
        fetch_wheels(lock, AMD, store, web=web)
    left = len(list((store.folder / "wheels").rglob("*.part")))
    assert left <= 8
    del index.statuses["/simple/p7/"]
    assert 30 == len(fetch_wheels(lock, AMD, store))
    assert [] == list((store.folder / "wheels").rglob("*.part"))


def test_no_network(index: PackageIndex, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = lock_of(index, index.add("a", "1"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://me:secret@127.0.0.1:9/simple")
    web = Web(Indexes.from_env(), backoff=0.01)
    with pytest.raises(IndexUnavailable, match=r"127\.0\.0\.1:9 can't be reached: .*; check the network") as caught:
        fetch_wheels(lock, AMD, store, web=web)
    assert "secret" not in str(caught.value)
