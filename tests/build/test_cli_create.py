"""`func create`: which names and folders it takes, and what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from upon_build.cli.app import main
from upon_build.cli.create import TEMPLATES


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("template", list(TEMPLATES))
def test_writes_a_whole_project(template: str) -> None:
    result = CliRunner().invoke(main, ["create", "demo", "--template", template])

    assert result.exit_code == 0, result.output
    written = {str(path.relative_to("demo")) for path in Path("demo").rglob("*") if path.is_file()}
    assert written >= {
        "func.yaml", "app.py", "requirements.txt", "requirements-dev.txt", "README.md", ".gitignore", ".funcignore",
        "tests/test_app.py",
    }  # fmt: skip
    assert "name: demo\n" in Path("demo/func.yaml").read_text()
    assert Path("demo/README.md").read_text().startswith("# demo\n")
    assert not [path for path in Path("demo").rglob("*") if path.is_file() and b"@NAME@" in path.read_bytes()]


def test_a_path_is_a_name_with_a_place() -> None:
    assert CliRunner().invoke(main, ["create", "some/where/demo"]).exit_code == 0
    assert "name: demo\n" in Path("some/where/demo/func.yaml").read_text()


def test_a_dot_is_the_folder_one_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("demo").mkdir()
    monkeypatch.chdir("demo")

    result = CliRunner().invoke(main, ["create", "."])

    assert result.exit_code == 0, result.output
    assert "name: demo\n" in Path("func.yaml").read_text()
    assert "\n  func check && func run\n" in result.output


def test_the_next_command_can_be_pasted() -> None:
    result = CliRunner().invoke(main, ["create", "some where/demo"])

    assert "\n  cd 'some where/demo' && func check && func run\n" in result.output


def test_an_empty_folder_is_taken() -> None:
    Path("demo").mkdir()

    assert CliRunner().invoke(main, ["create", "demo"]).exit_code == 0


def test_a_folder_with_something_in_it_is_refused_and_left_alone() -> None:
    Path("demo").mkdir()
    Path("demo/mine.txt").write_text("mine")

    result = CliRunner().invoke(main, ["create", "demo"])

    assert result.exit_code == 2
    assert "'demo' is not empty" in result.output
    assert [path.name for path in Path("demo").iterdir()] == ["mine.txt"]


def test_a_file_of_that_name_is_refused() -> None:
    Path("demo").write_text("")

    result = CliRunner().invoke(main, ["create", "demo"])

    assert result.exit_code == 2
    assert "'demo' is a file" in result.output


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("My_Service", "try 'my-service'"),
        ("9lives", "try 'lives'"),
        ("Ünï", "try 'uni'"),
        ("-x-", "try 'x'"),
        ("Ümlaut", "try 'umlaut'"),
        ("a" * 64, "try '" + "a" * 63 + "'"),
        ("123", "start with a letter"),
    ],
)
def test_a_name_that_is_no_dns_label_is_refused(name: str, remedy: str) -> None:
    result = CliRunner().invoke(main, ["create", "--", name])

    assert result.exit_code == 2
    assert f"{name!r} is not a service name" in result.output
    assert remedy in result.output
    assert not list(Path().iterdir())


def test_an_unknown_template_names_those_there_are() -> None:
    result = CliRunner().invoke(main, ["create", "demo", "--template", "rust"])

    assert result.exit_code == 2
    for template in TEMPLATES:
        assert template in result.output
