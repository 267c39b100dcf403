from __future__ import annotations

import fcntl
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.package_index import PackageIndex, package_index
from upon_build.lock.download import Gone, Stopped, download
from upon_build.lock.indexes import Indexes
from upon_build.lock.simple import Found, files_at
from upon_build.lock.web import IndexFault, IndexUnavailable, Web

PAYLOAD = bytes(range(256)) * 8192  # 2 MiB


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with package_index() as found:
        yield found


def web_of(index: PackageIndex, **env: str) -> Web:
    """backoff: short, so that a test need not wait."""
    env = {"UV_DEFAULT_INDEX": index.url, "HOME": "/nonexistent", **env}
    return Web(Indexes.from_env(env, []), env, backoff=0.01)


def found_of(index: PackageIndex, file: str) -> Found:
    return Found(file, f"http://{index.address}/files/{file}", index.sha256(file), len(index.files[file]))


@pytest.fixture
def file(index: PackageIndex) -> str:
    return index.add("big", "1", payload=PAYLOAD)


def fetch(index: PackageIndex, file: str, folder: Path, **env: str) -> list[int]:
    """Download it into the folder; returns what the progress display was told."""
    told: list[int] = []
    found = found_of(index, file)
    download(web_of(index, **env), found, folder / "x" / file, found.sha256, found.size, advance=told.append)
    assert index.files[file] == (folder / "x" / file).read_bytes()
    assert [file] == [path.name for path in (folder / "x").iterdir()]
    return told


def test_a_file_as_it_is(index: PackageIndex, file: str, tmp_path: Path) -> None:
    assert len(index.files[file]) == sum(fetch(index, file, tmp_path))
    assert [f"/files/{file}"] == index.asked


def test_what_is_cut_off_goes_on_where_it_ended(index: PackageIndex, file: str, tmp_path: Path) -> None:
    index.cut[file] = [300_000, 500_000]
    assert len(index.files[file]) == sum(fetch(index, file, tmp_path))
    assert ["bytes=300000-", "bytes=800000-"] == index.ranges


def test_a_server_without_ranges_begins_again(index: PackageIndex, file: str, tmp_path: Path) -> None:
    index.cut[file] = [300_000]
    index.plain = True
    told = fetch(index, file, tmp_path)
    assert len(index.files[file]) == sum(told)
    assert -300_000 in told


def test_a_later_call_resumes(index: PackageIndex, file: str, tmp_path: Path) -> None:
    index.cut[file] = [300_000, 0, 0, 0, 0]
    with pytest.raises(IndexUnavailable, match=f"{index.address} can't be reached: the connection"):
        fetch(index, file, tmp_path)
    assert [f"{file}.part"] == [path.name for path in (tmp_path / "x").iterdir()]
    index.ranges.clear()
    fetch(index, file, tmp_path)
    assert ["bytes=300000-"] == index.ranges


def test_a_busy_server_is_asked_again(index: PackageIndex, file: str, tmp_path: Path) -> None:
    index.statuses[f"/files/{file}"] = [503, 429]
    fetch(index, file, tmp_path)
    assert 3 == len(index.asked)


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (500, IndexUnavailable, "answers 500 again and again"),
        (403, IndexUnavailable, "does not let us in: it answers 403; put the credentials into"),
        (418, IndexFault, "answers 418 to /files/"),
        (404, Gone, "and does not have it"),
    ],
)
def test_a_server_that_does_not_give_it(
    index: PackageIndex, file: str, tmp_path: Path, status: int, error: type[Exception], said: str
) -> None:
    index.statuses[f"/files/{file}"] = [status] * 9
    with pytest.raises(error, match=said):
        fetch(index, file, tmp_path)
    assert not (tmp_path / "x" / file).exists()


@pytest.mark.parametrize("lie", [b"short", PAYLOAD + b"and a longer one" * 40_000])
def test_another_content_is_fetched_twice_and_never_kept(
    index: PackageIndex, file: str, tmp_path: Path, lie: bytes
) -> None:
    index.lies[file] = lie
    with pytest.raises(IndexFault, match=rf"what {index.address} gives for {file} is not what func\.lock names"):
        fetch(index, file, tmp_path)
    assert 2 == len(index.asked)
    assert 0 == (tmp_path / "x" / f"{file}.part").stat().st_size
    index.lies.clear()
    fetch(index, file, tmp_path)


def test_a_damaged_part_is_thrown_away(index: PackageIndex, file: str, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / f"{file}.part").write_bytes(b"\0" * 1000)
    told = fetch(index, file, tmp_path)
    assert len(index.files[file]) == sum(told)
    assert ["bytes=1000-"] == index.ranges


def test_two_at_once_do_not_share_a_part(index: PackageIndex, file: str, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with (tmp_path / "x" / f"{file}.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b"theirs")
        other.flush()
        found = found_of(index, file)
        download(web_of(index), found, tmp_path / "x" / file, found.sha256, found.size)
        assert index.files[file] == (tmp_path / "x" / file).read_bytes()
        assert b"theirs" == (tmp_path / "x" / f"{file}.part").read_bytes()


def test_many_threads_at_once(index: PackageIndex, file: str, tmp_path: Path) -> None:
    web, found, target = web_of(index), found_of(index, file), tmp_path / "x" / file
    errors: list[BaseException] = []

    def work() -> None:
        try:
            download(web, found, target, found.sha256, found.size)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [] == errors
    assert index.files[file] == target.read_bytes()


def test_it_ends_when_another_one_has_failed(index: PackageIndex, file: str, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    found = found_of(index, file)
    with pytest.raises(Stopped):
        download(web_of(index), found, tmp_path / file, found.sha256, found.size, stop=stop)
    assert [] == index.asked


def test_a_full_disk_names_the_file(index: PackageIndex, file: str, tmp_path: Path) -> None:
    """A limit on the size of files ends a write halfway, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            fetch(index, file, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(tmp_path / "x" / f"{file}.part") == caught.value.filename
    fetch(index, file, tmp_path)
    assert [f"bytes={2**20}-"] == index.ranges


def test_credentials_of_the_index_and_of_netrc(index: PackageIndex, file: str, tmp_path: Path) -> None:
    index.user = "me:pw"
    with pytest.raises(IndexUnavailable, match="answers 401"):
        fetch(index, file, tmp_path)
    with_user = index.url.replace("//", "//me:pw@")
    fetch(index, file, tmp_path / "a", UV_DEFAULT_INDEX=with_user)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password pw\n")
    fetch(index, file, tmp_path / "b", NETRC=str(tmp_path / "netrc"))
    with pytest.raises(IndexUnavailable) as caught:
        fetch(index, file, tmp_path / "c", UV_DEFAULT_INDEX=index.url.replace("//", "//me:secret@"))
    assert "secret" not in str(caught.value)


def test_nothing_listens(tmp_path: Path) -> None:
    with package_index() as index:
        file = index.add("a", "1")
        found = found_of(index, file)
    began = time.monotonic()
    with pytest.raises(IndexUnavailable, match=f"{index.address} can't be reached: the connection is refused; check"):
        download(web_of(index), found, tmp_path / file, found.sha256, found.size)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("style", ["json", "html", "bare"])
def test_pages(index: PackageIndex, style: str) -> None:
    index.style = style  # type: ignore[assignment]
    file = index.add("a", "1+local", tag="cp311-cp311-manylinux_2_28_x86_64")
    index.yanked.add(file)
    (found,) = files_at(web_of(index), f"{index.url}/a/")
    assert (file, f"http://{index.address}/files/{file}") == (found.file, found.where)
    assert ("" if style == "bare" else index.sha256(file)) == found.sha256
    assert (len(index.files[file]) if style == "json" else None) == found.size
    assert [] == files_at(web_of(index), f"{index.url}/other/")


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "a-1-py3-none-any.whl").write_bytes(b"abc")
    (tmp_path / "notes.txt").write_bytes(b"")
    expected = [Found("a-1-py3-none-any.whl", str(tmp_path / "a-1-py3-none-any.whl"), "", 3)]
    web = Web(Indexes(()), {})
    assert expected == files_at(web, str(tmp_path)) == files_at(web, tmp_path.as_uri())
    assert [] == files_at(web, str(tmp_path / "gone"))
