"""What stays out of an image without being asked, and what `.funcignore` can change about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from upon_build.image.files.ignore import MAX_SIZE, Ignore
from upon_build.image.files.walk import walk
from upon_build.project import ProjectError

ALWAYS = [
    *(".git/config", ".hg/x", ".svn/x", ".env", ".env.local", "deep/.env", ".envrc", ".ssh/known_hosts", ".upon/state"),
    *("__pycache__/app.cpython-311.pyc", "old.pyc", "deep/__pycache__/x", ".mypy_cache/x", ".pytest_cache/x"),
    *(".ruff_cache/x", ".venv/pyvenv.cfg", ".venv/bin/python", "my-environment/pyvenv.cfg", "my-environment/lib/x.py"),
    *("conda/conda-meta/history", "conda/bin/x", "image/oci-layout", "image/blobs/x", ".ipynb_checkpoints/x"),
]
USUALLY = [
    *("node_modules/x", "web/node_modules/x", "dist/a.whl", "x.egg-info/PKG-INFO", ".DS_Store", ".vscode/x", ".idea/x"),
    *("func.lock", ".gitignore", "app.py~", ".app.py.swp"),
]
IN = ["app.py", "func.yaml", "tests/test_app.py", "pkg/dist/__init__.py", "deep/func.lock", "environment.py", "git/x"]


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def kept(folder: Path) -> set[str]:
    return set(walk(folder, Ignore.read(folder)).files)


def test_without_a_file(tmp_path: Path) -> None:
    assert set(IN) == kept(write(tmp_path, *ALWAYS, *USUALLY, *IN))


def test_gitignore_is_not_read(tmp_path: Path) -> None:
    (write(tmp_path, "models/labels.json") / ".gitignore").write_text("models/\n")
    assert {"models/labels.json"} == kept(tmp_path)


def test_what_can_be_brought_back(tmp_path: Path) -> None:
    (write(tmp_path, *USUALLY) / ".funcignore").write_text("!node_modules/\n!dist\n!*.egg-info\n!func.lock\n")
    expected = {"node_modules/x", "web/node_modules/x", "dist/a.whl", "x.egg-info/PKG-INFO", "func.lock"}
    assert expected == kept(tmp_path)


@pytest.mark.parametrize("name", ALWAYS)
def test_what_can_not(tmp_path: Path, name: str) -> None:
    (write(tmp_path, *ALWAYS) / ".funcignore").write_text(f"!{name}\n!{name.partition('/')[0]}\n!**\n")
    assert {".funcignore"} == kept(tmp_path)


def test_a_pattern_without_effect_is_told(tmp_path: Path) -> None:
    (write(tmp_path, ".env", "app.py") / ".funcignore").write_text("# settings\n!.env\n")
    ignore = Ignore.read(tmp_path)
    walk(tmp_path, ignore)
    message = ".funcignore:2: '!.env' does not bring back '.env', which never goes into an image: remove the line"
    assert [message] == [str(problem) for problem in ignore.warnings]


def test_no_such_warning_for_a_pattern_that_meant_others(tmp_path: Path) -> None:
    (write(tmp_path, ".env", "app.py") / ".funcignore").write_text("*.txt\n!read.txt\n.env\n")
    ignore = Ignore.read(tmp_path)
    walk(tmp_path, ignore)
    assert [] == ignore.warnings


def test_windows_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    (write(tmp_path, "a.txt", "b.txt", "c.py") / ".funcignore").write_bytes(b"\xef\xbb\xbfa.txt\r\nb.txt\r\n")
    assert {"c.py"} == kept(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", ".funcignore: the file is not UTF-8: save it as UTF-8"),
        (b"a\n" * MAX_SIZE, f".funcignore: the file is larger than {MAX_SIZE} bytes: name folders instead of files"),
    ],
)
def test_a_file_that_can_not_be_used(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / ".funcignore").write_bytes(content)
    with pytest.raises(ProjectError) as error:
        Ignore.read(tmp_path)
    assert said == str(error.value)


def test_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / ".funcignore").mkdir()
    with pytest.raises(ProjectError, match="Is a directory"):
        Ignore.read(tmp_path)


def test_what_is_ignored_is_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "data/deep/x", "node_modules/deep/x", ".git/deep/x", "pkg/x.py")
    (tmp_path / ".funcignore").write_text("data/\n")
    import os

    entered: list[str] = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: entered.append(os.path.relpath(path, tmp_path)) or real(path))
    walk(tmp_path, Ignore.read(tmp_path))
    assert {".", "pkg"} == set(entered)
