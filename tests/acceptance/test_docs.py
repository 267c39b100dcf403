"""The documents tell the truth: examples run, the reference is the code's, named modules and links are there."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from support.builds import Builder
from support.pages import Reader, blocks_of, commands_of, normal, pattern_of
from support.rootfs import PYTHON

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
REFERENCE = sorted((DOCS / "reference").glob("*.md"))
RUNNABLE = [page for page in PAGES if {"python", "console"} & {b.language for b in blocks_of(page.read_text())}]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_a_reader_can_follow(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if page.parent == ROOT:  # pages of the repository are read in it
        for name in ("examples", "models"):
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("func.yaml", "Makefile", "README.md", "pyproject.toml"):
            shutil.copy(ROOT / name, tmp_path / name)
    with ExitStack() as stack:
        text = page.read_text()
        builds = any("func build" in block.text for block in blocks_of(text) if block.language == "console")
        builder: Builder | None = request.getfixturevalue("builder") if builds else None
        Reader(tmp_path, stack, *(images(builder) if builder else ())).read(text)


def images(builder: Builder) -> tuple[dict[str, str], str]:
    """Variables for a reader who builds images, and the registry that is there for `ghcr.io`."""
    variables = {"FUNC_BUILD_BASE_IMAGE": builder.base.reference, "FUNC_BUILD_PYTHON": PYTHON}
    return {**variables, "UPON_CACHE": str(builder.cache)}, builder.registry.host


def test_there_are_examples_to_run() -> None:
    assert {"README.md", "docs/tutorial/first-function.md"} <= set(map(name_of, RUNNABLE))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [] == [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_shell_blocks_name_what_exists(page: Path) -> None:
    """`sh` blocks are for the reader's machine and not run; the targets and commands in them must exist."""
    from upon_build.cli.app import COMMANDS

    targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = "\n".join(block.text for block in blocks_of(page.read_text()) if block.language == "sh")
    assert set(re.findall(r"^\s*make ([a-z]+)", text, re.MULTILINE)) <= set(targets)
    assert set(re.findall(r"\bfunc ([a-z]+)", text)) <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_parts_of_func_yaml_fit_the_schema(page: Path) -> None:
    from upon_build.project.schema import ROOT as KINDS

    least = {"name": "x", "functions": ["x.py"]}
    for block in blocks_of(page.read_text()):
        if block.language == "yaml":
            given: dict[str, Any] = YAML(typ="safe").load(block.text)
            top = {"$defs": definitions(), **KINDS.schema()}
            jsonschema.validate({**least, **given}, top)


def definitions() -> dict[str, Any]:
    import json
    from importlib.resources import files

    schema: dict[str, Any] = json.loads((files("upon_build") / "schema.json").read_text())
    found: dict[str, Any] = schema["$defs"]
    return found


def test_the_reference_is_what_the_code_says(tmp_path: Path) -> None:
    path = ROOT / "tools/make_reference.py"
    spec = importlib.util.spec_from_file_location("make_reference", path)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.main(tmp_path)
    assert {page.name for page in REFERENCE} == {page.name for page in tmp_path.iterdir()}
    for page in REFERENCE:
        assert (tmp_path / page.name).read_text() == page.read_text(), f"run {path.relative_to(ROOT)}"


def test_the_way_of_an_event_names_real_modules() -> None:
    text = (DOCS / "explanation/way-of-an-event.md").read_text()
    modules = sorted(set(re.findall(r"\bupon(?:_\w+)?(?:\.\w+)+", text)))
    assert len(modules) >= 8
    for name in modules:
        assert_exists(name)


def assert_exists(name: str) -> None:
    """A dotted name of a module, or of something in one."""
    module, _, rest = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        assert hasattr(importlib.import_module(module), rest), f"there is no {name}"


def test_every_page_is_reached_from_the_index() -> None:
    seen, waiting = set(), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        links = re.findall(r"\]\(([^)#:]+\.md)", page.read_text())
        waiting += [path for link in links if (path := (page.parent / link).resolve()) not in seen]
    assert set(DOCS.rglob("*.md")) <= seen


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("one\n...\nfour", "one\ntwo\nthree\nfour", True),
        ("one\n...", "one", False),
        ("at 10:00:01 took 5 ms", "at 23:59:59 took 1.5 ms", True),
        ("label ... end", "label x end", True),
        ("label", "another", False),
        ("a\nb", "b\na", False),
    ],
)
def test_how_output_is_compared(expected: str, printed: str, same: bool) -> None:
    assert same == bool(pattern_of(expected).fullmatch(normal(printed)))


def test_how_console_blocks_are_read() -> None:
    text = "$ one \\\n    two\nout\n$ three\n"
    assert [("one \\\n    two", "out"), ("three", "")] == commands_of(text)
