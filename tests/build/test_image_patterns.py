"""The patterns mean what they mean to Git: asked about the same files, both say the same."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upon_build.image.files.ignore import Ignore
from upon_build.image.files.patterns import decide, read_patterns
from upon_build.image.files.walk import walk

FILES = [
    *(f"{top}/{name}" for top in "ab" for name in ("c.py", "d.txt", "a/a", "a/c.py", "b/c.py", "b/d.txt", "b/a/e")),
    *("c.py", "d.txt", "e", "e f", "[e", "#e", "!e", "e\\"),
]
# Without `a**`: before `/b`, Git takes it for `a/**`, against its manual, since it cuts the plain text off first
PARTS = ["a", "b", "*", "**", "c.py", "*.py", "d.txt", "?", "[ab]", "*.t?t", "e", "[!a]", "***", "[a-", "\\e"]
PATTERNS = st.builds(
    lambda negated, lead, parts, tail: f"{negated}{lead}{'/'.join(parts)}{tail}",
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "/"]),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=3),
    st.sampled_from(["", "/", "  "]),
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("git") is None:
        if os.environ.get("CI"):
            pytest.fail("git is missing: apt-get install git")
        pytest.skip("git is missing: apt-get install git")
    folder = tmp_path_factory.mktemp("repository")
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    git(folder, "init", "--quiet")
    return folder


def git(folder: Path, *arguments: str) -> bytes:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", "-C", str(folder), *arguments], env=env, capture_output=True, check=True, timeout=60)
    return done.stdout


def kept_by_git(folder: Path, lines: list[str]) -> set[str]:
    (folder / ".git/patterns").write_text("\n".join(lines))
    listed = git(folder, "ls-files", "-z", "--others", "--exclude-from", str(folder / ".git/patterns"))
    return {os.fsdecode(name) for name in listed.split(b"\0") if name}


@given(lines=st.lists(PATTERNS, min_size=1, max_size=5))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_as_git(repository: Path, lines: list[str]) -> None:
    assert kept_by_git(repository, lines) == set(walk(repository, Ignore(lines)).files)


@pytest.mark.parametrize(
    "line",
    [
        *("a/", "/a", "a/b", "**/b", "a/**", "a/**/c.py", "**/", "/**", "*", "!*", "b/a/", "a/**/"),
        *(
            "[a]",
            "[!a]",
            "[^a]",
            "[]e]",
            "[a-b]",
            "[b-a]",
            "[![:alpha:]]",
            "[[:nonsense:]]",
            "[",
            "\\[e",
            "[[]e",
            "a[/]b",
        ),
        *(
            "\\#e",
            "#e",
            "\\!e",
            "!e",
            "e ",
            "e f",
            "e\\ f",
            "e\\ ",
            "e\\",
            "e\\\\",
            "\\",
            "?",
            "??",
            "",
            " ",
            "/",
            "//",
        ),
    ],
)
def test_one_pattern_as_git(repository: Path, line: str) -> None:
    lines = ["*.txt", line]
    assert kept_by_git(repository, lines) == set(walk(repository, Ignore(lines)).files)


def test_a_pattern_for_the_folder_above_does_not_decide_again(repository: Path) -> None:
    """Libraries that compare whole paths bring b back by !a."""
    lines = ["b", "!a"]
    assert "a/b/c.py" not in walk(repository, Ignore(lines)).files
    assert "a/b/c.py" not in kept_by_git(repository, lines)


def test_the_pattern_that_decided() -> None:
    patterns = read_patterns(["# no pattern", "*.txt", "", "!keep.txt"])
    assert [2, 4] == [pattern.line for pattern in patterns]
    found = [decide(patterns, path, path.rpartition("/")[2], is_folder=False) for path in ("a/b.txt", "keep.txt", "c")]
    assert [2, 4, None] == [pattern and pattern.line for pattern in found]


def test_a_character_is_one_however_many_bytes_it_has() -> None:
    """Git counts bytes, which nobody expects of `?`."""
    patterns = read_patterns(["?"])
    assert patterns[0] == decide(patterns, "é", "é", is_folder=False)
