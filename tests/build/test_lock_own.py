from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from upon import UponError
from upon_build.image.store import Store
from upon_build.lock import own
from upon_build.lock.ours import Ours, find_ours
from upon_build.lock.own import FILES, ROOTS, build_wheel, own_wheel
from upon_build.lock.repack import repack
from upon_build.project import ProjectError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def small(folder: Path) -> Path:
    """Sources of the shape of ours: the real pyproject.toml, and one module in each room."""
    real = find_ours().checkout
    assert real is not None
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy(real / name, folder)
    for root in ROOTS:
        (folder / root).mkdir(parents=True)
        (folder / root / "__init__.py").write_text(f"NAME = {root!r}\n")
    return folder


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}


def test_the_wheel_of_a_checkout(tmp_path: Path, store: Store) -> None:
    checkout = small(tmp_path / "src")
    before = tree(checkout)
    wheel = build_wheel(checkout, "0.1.0", store)
    assert before == tree(checkout)
    with zipfile.ZipFile(wheel.path) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert {"upon", "upon_runtime", "upon_triggers", "upon_build"} <= {name.split("/")[0] for name in names}
    assert ("upon", "0.1.0") == (wheel.name, wheel.version)
    assert [wheel.path] == list((store.folder / "wheels").rglob("*.whl"))


def test_neither_the_tool_nor_its_compressor_is_in_it(tmp_path: Path) -> None:
    for number, (tool, compression) in enumerate([("one 1.0", zipfile.ZIP_DEFLATED), ("two 2.0", zipfile.ZIP_STORED)]):
        with zipfile.ZipFile(tmp_path / f"{number}.in", "w", compression) as out:
            out.writestr("a.py", "A = 1\n" * 100)
            out.writestr("a-1.dist-info/WHEEL", f"Wheel-Version: 1.0\nGenerator: {tool}\nTag: py3-none-any\n")
            out.writestr("a-1.dist-info/RECORD", f"a.py,sha256={number},3\n")
    assert repack(tmp_path / "0.in", tmp_path / "0") == repack(tmp_path / "1.in", tmp_path / "1")
    with zipfile.ZipFile(tmp_path / "0") as archive:
        assert b"Generator: upon\n" in archive.read("a-1.dist-info/WHEEL")
        lines = archive.read("a-1.dist-info/RECORD").decode().splitlines()
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"A = 1\n" * 100).digest()).rstrip(b"=").decode()
    assert "a-1.dist-info/RECORD,," == lines[0]
    assert f"a.py,sha256={digest},600" == lines[2]


def test_it_is_built_once_for_the_same_content(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = small(tmp_path / "src")
    wheel = build_wheel(checkout, "0.1.0", store)
    (checkout / ROOTS[0] / "__pycache__").mkdir()
    (checkout / ROOTS[0] / "__pycache__" / "x.pyc").write_bytes(b"")
    (checkout / "notes.txt").write_text("not in the wheel")
    os.utime(checkout / "pyproject.toml")
    monkeypatch.setattr(own, "_run", None)
    assert wheel == build_wheel(checkout, "0.1.0", store)
    (checkout / ROOTS[0] / "__init__.py").write_text("changed = True\n")
    with pytest.raises(TypeError):  # it would be built
        build_wheel(checkout, "0.1.0", store)


def test_the_same_bytes_from_other_folders_and_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = build_wheel(small(tmp_path / "a" / "src"), "0.1.0", Store(tmp_path / "cache-a"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    other = small(tmp_path / "b" / "src")
    os.utime(other / "pyproject.toml", (1_000_000_000, 1_000_000_000))
    assert one.sha256 == build_wheel(other, "0.1.0", Store(tmp_path / "cache-b")).sha256


def test_a_wheel_that_was_pruned_is_built_again(tmp_path: Path, store: Store) -> None:
    checkout = small(tmp_path / "src")
    wheel = build_wheel(checkout, "0.1.0", store)
    wheel.path.unlink()
    assert wheel == build_wheel(checkout, "0.1.0", store)
    assert wheel.path.is_file()


def test_from_a_checkout_that_may_only_be_read(tmp_path: Path) -> None:
    """In a process that obeys the modes of files, which root does not by itself."""
    checkout = small(tmp_path / "src")
    for path in (checkout, *checkout.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = tree(checkout)
    code = """
import sys; from pathlib import Path
from upon_build.image.store import Store; from upon_build.lock.own import build_wheel
checkout, cache = map(Path, sys.argv[1:])
try: (checkout / "x").touch()
except PermissionError: print(build_wheel(checkout, "0.1.0", Store(cache)).path)
"""
    without = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    command = [*without, sys.executable, "-c", code, str(checkout), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ("", 0) == (done.stderr, done.returncode)
    assert Path(done.stdout.strip()).is_file()
    assert before == tree(checkout)


def test_a_build_that_fails_says_why(tmp_path: Path, store: Store) -> None:
    checkout = small(tmp_path / "src")
    (checkout / "README.md").unlink()
    with pytest.raises(UponError, match=r"(?s)the build of Upon's wheel in .* failed.*README") as caught:
        build_wheel(checkout, "0.1.0", store)
    assert "Traceback" not in str(caught.value)[:80]


def test_an_installed_release_has_no_sources(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "find_ours", lambda: Ours("1.0", None))
    with pytest.raises(ProjectError, match="this Upon is an installed release: run `func lock`"):
        own_wheel(store)
