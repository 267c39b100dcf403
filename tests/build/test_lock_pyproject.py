from __future__ import annotations

from pathlib import Path

import pytest

from upon_build.lock.pyproject import Stated, read_pyproject
from upon_build.lock.requirement import write_line
from upon_build.project import ProjectError


def read(folder: Path, text: str) -> Stated:
    (folder / "pyproject.toml").write_text(text)
    found = read_pyproject(folder)
    assert found is not None
    return found


def lines(folder: Path, text: str) -> list[str] | None:
    found = read(folder, text).requirements
    return None if found is None else [write_line(one) for one in found]


def test_dependencies(tmp_path: Path) -> None:
    assert read_pyproject(tmp_path) is None
    assert ["a>=1", "b"] == lines(tmp_path, '[project]\nname = "x"\ndependencies = ["a >= 1", "B"]\n')
    assert [] == lines(tmp_path, '[project]\nname = "x"\ndependencies = []\n')


def test_a_file_that_states_none(tmp_path: Path) -> None:
    assert Stated(None) == read(tmp_path, "[tool.ruff]\nline-length = 120\n")
    assert Stated(None, requires_python=">=3.11") == read(
        tmp_path, '[project]\nname = "x"\nrequires-python = ">=3.11"\n'
    )
    assert Stated(None, dynamic=True) == read(tmp_path, '[project]\nname = "x"\ndynamic = ["dependencies"]\n')


def test_extras_of_the_project(tmp_path: Path) -> None:
    text = """\
[project]
name = "My_App"
dependencies = ["a"]
[project.optional-dependencies]
image = ["b", "my-app[more]"]
more = ["c", "my.app[image]"]
dev = ["d"]
[tool.upon]
extras = ["image"]
"""
    assert ["a", "b", "c"] == lines(tmp_path, text)
    with pytest.raises(ProjectError, match="names 'images', which is no optional dependency: did you mean 'image'"):
        lines(tmp_path, text.replace('["image"]', '["images"]'))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[project", "not TOML"),
        ("project = 1", "project is no table"),
        ("[project]\ndependencies = 'a'", "project.dependencies is no list of texts"),
        ("[project]\ndependencies = ['a @ git+https://host/a']", "is a path, URL or repository"),
        (
            "[project]\ndependencies = ['torch']\n[tool.uv.sources]\ntorch = {index = 'x'}",
            "[tool.uv.sources] takes 'torch' from elsewhere",
        ),
    ],
)
def test_what_an_image_can_not_take_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ProjectError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("pyproject.toml: ")


def test_a_source_of_another_package_does_not_matter(tmp_path: Path) -> None:
    assert ["a"] == lines(tmp_path, "[project]\ndependencies = ['a']\n[tool.uv.sources]\nb = {path = '.'}\n")
