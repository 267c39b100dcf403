from __future__ import annotations

from pathlib import Path

import pytest

from upon_build.lock.lockfile import Lock, LockedBase, LockedModel, Package, parse_lock, read_lock, write_lock
from upon_build.project import ProjectError

AMD, ARM = "linux/amd64", "linux/arm64"
A = Package("a", "1.0", (AMD, ARM), "a-1.0-py3-none-any.whl", "a" * 64, 12)
B = Package("b", "2.0", (ARM,), "b-2.0-cp311-cp311-manylinux_2_28_aarch64.whl", "b" * 64, 3_000_000_000)
MODEL = LockedModel('models/ö "x"\\y\t.onnx', "c" * 64, 0)
BASE = LockedBase("docker.io/library/python:3.11-slim", AMD, "sha256:" + "d" * 64)
LOCK = Lock(
    "3.11", (AMD, ARM), "e" * 64, (A, B), (MODEL,), "checkout", ("a>=1; python_version > '3'", "b"), ("c<2",), (BASE,)
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert write_lock(tmp_path, LOCK)
    assert LOCK == read_lock(tmp_path)


def test_the_same_lock_is_not_written_again(tmp_path: Path) -> None:
    write_lock(tmp_path, LOCK)
    before = (tmp_path / "func.lock").stat()
    assert not write_lock(tmp_path, LOCK)
    after = (tmp_path / "func.lock").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
    assert ["func.lock"] == [path.name for path in tmp_path.iterdir()]


def test_the_bytes_depend_on_no_order() -> None:
    other = Lock(
        "3.11",
        (ARM, AMD),
        "e" * 64,
        (B, A),
        (MODEL,),
        "checkout",
        ("b", "a>=1; python_version > '3'"),
        ("c<2",),
        (BASE,),
    )
    assert LOCK.to_bytes() == other.to_bytes()


def test_the_text_is_plain() -> None:
    lock = Lock(
        "3.12", (AMD,), "e" * 64, (Package("a", "1", (AMD,), "a-1-py3-none-any.whl", "a" * 64, 1),), requirements=("a",)
    )
    expected = f"""\
# Written by `func lock`: commit it, and do not edit it.
format = "upon.lock/v1"
inputs = "{"e" * 64}"
python = "3.12"
platforms = ["linux/amd64"]
upon = "package"
requirements = ["a"]

[[package]]
name = "a"
version = "1"
platforms = ["linux/amd64"]
file = "a-1-py3-none-any.whl"
sha256 = "{"a" * 64}"
size = 1
"""
    assert expected == lock.to_bytes().decode()


def test_packages_of_one_platform() -> None:
    assert ((A,), (A, B)) == (LOCK.packages_for(AMD), LOCK.packages_for(ARM))


def test_there_is_none(tmp_path: Path) -> None:
    assert read_lock(tmp_path) is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"upon.lock/v1", b"upon.lock/v9", "format is 'upon.lock/v9'"),
        (b'python = "3.11"', b"python = 3.11", "python is 3.11, which is no text"),
        (b'python = "3.11"\n', b"", "'python' is missing"),
        (b"size = 12", b"size = -1", "size is -1"),
        (b"a" * 64, b"a" * 63, "is no SHA-256"),
        (b"a-1.0-py3-none-any.whl", b"../../a.whl", "'../../a.whl' is no wheel's name"),
        (b'upon = "checkout"', b'upon = "elsewhere"', "upon is 'elsewhere'"),
        (b"[[package]]", b"[package]", "not TOML"),
        (b"format =", b"<<<<<<< HEAD\nformat =", "resolve the merge by deleting it, and run `func lock`"),
    ],
)
def test_another_file_is_refused(old: bytes, new: bytes, said: str) -> None:
    with pytest.raises(ProjectError) as caught:
        parse_lock(LOCK.to_bytes().replace(old, new))
    assert said in str(caught.value)
    assert "func lock" in str(caught.value)


def test_a_lock_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "func.lock").mkdir()
    with pytest.raises(ProjectError, match=r"func\.lock: the file can't be read: Is a directory"):
        read_lock(tmp_path)
