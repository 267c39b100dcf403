from __future__ import annotations

from pathlib import Path

import pytest

from upon_build.lock.reqfile import read_requirements_file
from upon_build.lock.requirement import write_line
from upon_build.project import ProjectError


def lines(folder: Path, text: str) -> list[str]:
    (folder / "requirements.txt").write_text(text)
    return [write_line(one) for one in read_requirements_file(folder).requirements]


def test_comments_continuations_and_spellings(tmp_path: Path) -> None:
    text = """\
# what it needs
Foo_Bar >= 1.0 , <2   # for bars

baz[Two, one] == 1.* ; python_version < "3.13"
long \\
    >= 3
"""
    assert ["foo-bar<2,>=1.0", 'baz[one,two]==1.*; python_version < "3.13"', "long>=3"] == lines(tmp_path, text)


def test_included_files_and_constraints(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.txt").write_text("a\n-r ../b.txt\n")
    (tmp_path / "b.txt").write_text("b\n-r requirements.txt\n")  # a circle
    (tmp_path / "c.txt").write_text("-r d.txt\n")
    (tmp_path / "d.txt").write_text("d<2\n")
    assert ["top", "a", "b"] == lines(tmp_path, "top\n-rmore/a.txt\n--constraint=c.txt\n")
    assert ["d<2"] == [write_line(one) for one in read_requirements_file(tmp_path).constraints]


def test_hashes_are_kept_and_harmless_options_pass(tmp_path: Path) -> None:
    text = f"--prefer-binary\n--only-binary :all:\na==1 --hash=sha256:{'A' * 64} \\\n  --hash=sha256:{'b' * 64}\n"
    assert ["a==1"] == lines(tmp_path, text)
    assert {"a": {"a" * 64, "b" * 64}} == read_requirements_file(tmp_path).hashes


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-e .", "'-e .' is refused: an image needs wheels from an index: publish a wheel"),
        ("--editable=../lib", "is refused: an image needs wheels"),
        ("-i https://me:pw@host/simple", "'-i https://***@host/simple' is refused: where packages come from"),
        ("--index-url=https://host/", "set UV_DEFAULT_INDEX or PIP_INDEX_URL"),
        ("--extra-index-url https://host/", "set UV_INDEX or PIP_EXTRA_INDEX_URL"),
        ("--no-binary :all:", "nothing is compiled for it"),
        ("--pre", "write 'name>=1.0rc1'"),
        ("--frobnicate", "the option '--frobnicate' is not understood"),
        ("./lib", "'./lib' is a path, URL or repository, and an image needs wheels from an index"),
        ("lib/a-1-py3-none-any.whl", "is a path, URL or repository"),
        ("git+https://token@host/a.git", "'git+https://***@host/a.git' is a path, URL or repository"),
        ("a @ https://me:pw@host/a.whl", "'a @ https://***@host/a.whl' is a path, URL or repository"),
        ("a @ file:///a.whl", "is a path, URL or repository"),
        ("a=1", "'a=1' is no requirement"),
        ("a --hash=md5:00", "'--hash=md5:00' is not understood here"),
        ("-r missing.txt", "'missing.txt' can't be read: No such file or directory"),
        ("-r ../outside.txt", "'outside.txt' is outside the project's folder"),
        ("-r", "'-r' names no file"),
    ],
)
def test_what_an_image_can_not_take_is_refused(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ProjectError) as caught:
        lines(tmp_path, f"fine\n{line}\n")
    assert said in str(caught.value)
    assert str(caught.value).startswith("requirements.txt:2: ")
    assert "pw" not in str(caught.value)
    assert "token" not in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProjectError, match="not UTF-8"):
        read_requirements_file(tmp_path)
