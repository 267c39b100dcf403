"""The tar writer, read back by tarfile and GNU tar."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upon import UponError
from upon_build.image.layers.tar import BLOCK, Entry, Kind, header, write_tar


def file(path: str, content: bytes = b"", mode: int = 0o644) -> Entry:
    return Entry(path, mode, "file", len(content), lambda: io.BytesIO(content))


def link(path: str, target: str) -> Entry:
    return Entry(path, 0o777, "link", target=target)


def tar_of(*entries: Entry, mtime: int = 0) -> bytes:
    out = io.BytesIO()
    write_tar(entries, out, mtime)
    return out.getvalue()


def read(content: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        return archive.getmembers()


def test_what_gnu_tar_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    run, start = file("app/run", b"#!/bin/sh\n", 0o755), link("app/bin/start", "../run")
    path.write_bytes(tar_of(run, start, file("app/bin/x/a.txt", b"a" * 513), mtime=86400))
    done = subprocess.run(
        ["tar", "tvf", path], capture_output=True, text=True, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"}
    )
    listed = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert [
        "drwxr-xr-x 0/0 0 1970-01-02 00:00 app/",
        "-rwxr-xr-x 0/0 10 1970-01-02 00:00 app/run",
        "drwxr-xr-x 0/0 0 1970-01-02 00:00 app/bin/",
        "lrwxrwxrwx 0/0 0 1970-01-02 00:00 app/bin/start -> ../run",
        "drwxr-xr-x 0/0 0 1970-01-02 00:00 app/bin/x/",
        "-rw-r--r-- 0/0 513 1970-01-02 00:00 app/bin/x/a.txt",
    ] == listed
    assert "" == done.stderr


def test_the_bytes_are_pinned() -> None:
    content = tar_of(file("app/run", b"#!/bin/sh\n", 0o755), link("app/é", "x" * 101), file("app/" + "y" * 150))
    assert "e68840784d47770990a12f9942c329e26c8d4a64ef6ae7a42220a9060a464593" == hashlib.sha256(content).hexdigest()


def test_folders_are_there_once() -> None:
    folder = Entry("a", 0o755, "dir")
    names = [
        member.name for member in read(tar_of(file("a/b/1"), folder, file("a/2"), Entry("a/c", 0o755, "dir"), folder))
    ]
    assert ["a", "a/b", "a/b/1", "a/2", "a/c"] == names


def test_nothing_names_an_owner_or_a_time() -> None:
    (member,) = read(tar_of(file("a")))
    assert (0, 0, "", "", 0) == (member.uid, member.gid, member.uname, member.gname, member.mtime)


@pytest.mark.parametrize("name", ["x" * 100, "d" * 154 + "/" + "f" * 100, "a/" * 49 + "bb"])
def test_names_that_ustar_holds_have_no_pax_header(name: str) -> None:
    assert BLOCK == len(header(file(name)))
    assert name == read(tar_of(file(name)))[-1].name


@pytest.mark.parametrize("name", ["x" * 101, "d" * 156 + "/f", "d/" + "f" * 101, "grün", "a/" * 200 + "b", "x" * 1000])
def test_other_names_have_one(name: str) -> None:
    assert BLOCK < len(header(file(name)))
    assert name == read(tar_of(file(name)))[-1].name


def test_the_longest_folder_that_ustar_holds() -> None:
    name = "d" * 154
    assert BLOCK == len(header(Entry("a/" * 52 + name[:50], 0o755, "dir")))
    assert name == read(tar_of(Entry(name, 0o755, "dir")))[0].name


@pytest.mark.parametrize("target", ["t" * 100, "t" * 101, "../" * 200 + "grün"])
def test_links(target: str) -> None:
    (member,) = read(tar_of(link("a", target)))
    assert (True, target) == (member.issym(), member.linkname)
    assert (len(target) > 100) == (BLOCK < len(header(link("a", target))))


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 2**40])
def test_sizes_beyond_8_gibibytes(size: int) -> None:
    content = header(Entry("big", 0o644, "file", size))
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:", ignore_zeros=True) as archive:
        member = archive.next()
    assert member is not None
    assert (size, "big") == (member.size, member.name)
    assert (size >= 8**11) == (len(content) > BLOCK)


@given(
    st.lists(st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1), min_size=1)
)
def test_any_name_comes_back(parts: list[str]) -> None:
    name = "/".join("x" + part for part in parts)
    assert name == read(tar_of(file(name, b"content")))[-1].name


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../a", "a/../b", "a//b", "a/", "./a", "a\0b"])
def test_paths_outside_the_image(path: str) -> None:
    with pytest.raises(ValueError, match="is no path in an image"):
        tar_of(file(path))


@pytest.mark.parametrize("kinds", [("file", "file"), ("file", "dir"), ("dir", "link"), ("link", "file")])
def test_two_entries_of_one_path(kinds: tuple[Kind, Kind]) -> None:
    with pytest.raises(ValueError, match="two entries of 'a'"):
        tar_of(*(Entry("a", 0o644, kind, target="t" if kind == "link" else "") for kind in kinds))


def test_a_file_below_a_link() -> None:
    with pytest.raises(ValueError, match="is below 'a/b', which is no folder"):
        tar_of(link("a/b", "/etc"), file("a/b/passwd"))


@pytest.mark.parametrize(("content", "has"), [(b"abc", "3"), (b"abcdefgh", "more")])
def test_a_file_that_has_another_size_than_it_had(content: bytes, has: str) -> None:
    with pytest.raises(UponError, match=f"'a' should have 5 bytes, and has {has}: build again"):
        tar_of(Entry("a", 0o644, "file", 5, lambda: io.BytesIO(content)))


def test_a_time_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="-1 s does not fit"):
        tar_of(file("a"), mtime=-1)


def test_contents_are_closed() -> None:
    content = io.BytesIO(b"abc")
    tar_of(Entry("a", 0o644, "file", 3, lambda: content))
    assert content.closed
