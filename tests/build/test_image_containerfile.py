"""The Containerfile: what it says, what lies beside it, and what a real buildah makes of it."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from support.containerfiles import BASE, entry, recipe_of, wheel_of
from upon_build.image.layers.tar import Entry
from upon_build.image.tooled.containerfile import Recipe, containerfile, pinned, steps_of
from upon_build.image.tooled.context import own_containerfile, prepare
from upon_build.project import ProjectError


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return recipe_of(tmp_path)


def text_of(recipe: Recipe) -> str:
    return containerfile(recipe, steps_of(recipe))


def steps(recipe: Recipe) -> list[tuple[str, str]]:
    return [(step.kind, step.title) for step in steps_of(recipe)]


def test_the_steps_are_ordered_by_how_seldom_they_change(recipe: Recipe) -> None:
    assert [
        ("system", "system packages: libgl1 libglib2.0-0"),
        ("system", "virtual environment"),
        ("package", "large 2.5"),
        ("packages", "1 small packages"),
        ("upon", "upon 0.1.0"),
        ("model", "models/iris.onnx"),
        ("code", "code"),
        ("manifest", "manifest"),
    ] == steps(replace(recipe, system=("libgl1", "libglib2.0-0")))


def test_upon_of_an_index_has_a_step_of_its_own(recipe: Recipe, tmp_path: Path) -> None:
    wheels = [*recipe.wheels, wheel_of(tmp_path, "upon", "1.0")]
    assert ("upon", "upon 1.0") in steps(replace(recipe, wheels=wheels, own=None))


def test_the_base_is_named_by_its_digest_alone(recipe: Recipe) -> None:
    assert f"docker.io/library/python@{BASE.digest}" == pinned(BASE)
    assert f"ARG UPON_BASE={pinned(BASE)}\nFROM ${{UPON_BASE}}\n" in text_of(recipe)


def test_packages_are_installed_by_their_hashes_and_without_an_index(recipe: Recipe) -> None:
    text, large = text_of(recipe), recipe.wheels[1]
    assert f"'large==2.5 --hash=sha256:{large.sha256}'" in text
    for flag in ("--no-index", "--require-hashes", "--no-deps", "--isolated", "--no-compile"):
        assert flag in text


def test_a_lock_can_not_bring_commands_in(recipe: Recipe) -> None:
    evil = replace(recipe.wheels[0], version="1.0' | sh; '")
    with pytest.raises(ProjectError, match=r"is not a package, its version and its hash: run `func lock`"):
        steps_of(replace(recipe, wheels=[evil]))


def test_bytecode_is_compiled_where_it_is_asked_for(recipe: Recipe) -> None:
    text = text_of(replace(recipe, bytecode=True))
    assert "env SOURCE_DATE_EPOCH=0 /usr/bin/python3.11 -m pip" in text
    assert " --compile " in text


def test_system_packages_come_without_others_and_without_lists(recipe: Recipe) -> None:
    text = text_of(replace(recipe, system=("libgl1",)))
    assert "apt-get install --yes --no-install-recommends \\\n      libgl1 \\\n" in text
    assert "rm -rf /var/lib/apt/lists/*" in text
    assert "apt-get" not in text_of(recipe)


def test_user_variables_and_entrypoint_are_those_of_every_image(recipe: Recipe) -> None:
    text = text_of(recipe)
    assert 'PATH="/opt/venv/bin:/usr/bin:/bin" \\\n' in text
    assert "LANG" not in text, "the base has it already"
    assert text.endswith('USER 65532:65532\nENTRYPOINT ["/opt/venv/bin/func", "serve"]\n')


@pytest.mark.parametrize(("value", "written"), [("a b", '"a b"'), ('"$x"\\', '"\\"\\$x\\"\\\\"')])
def test_variables_are_quoted(recipe: Recipe, value: str, written: str) -> None:
    config = {**BASE.config, "config": {"Env": ["PATH=" + value]}}
    text = text_of(replace(recipe, base=replace(BASE, config=config)))
    assert f'PATH="/opt/venv/bin:{written[1:]} \\\n' in text


# The context


def test_the_context_holds_what_is_copied_and_nothing_else(recipe: Recipe) -> None:
    context = prepare(recipe, "FROM scratch\n")
    assert [
        "Containerfile",
        "app/func.yaml",
        "app/run.sh",
        "manifest.json",
        "models/models_iris.onnx/models/iris.onnx",
        "wheels/large-2.5-py3-none-any.whl",
        "wheels/small-1.0-py3-none-any.whl",
        "wheels/upon-0.1.0-py3-none-any.whl",
    ] == sorted(str(path.relative_to(context)) for path in context.rglob("*") if path.is_file())


def test_modes_and_times_do_not_depend_on_the_machine(recipe: Recipe) -> None:
    umask = os.umask(0o077)
    try:
        context = prepare(recipe, "FROM scratch\n")
    finally:
        os.umask(umask)
    found = [context / name for name in ("app", "app/func.yaml", "app/run.sh", "manifest.json")]
    assert [0o755, 0o644, 0o755, 0o644] == [stat.S_IMODE(path.stat().st_mode) for path in found]
    assert {0} == {path.stat().st_mtime for path in found}


def test_what_an_earlier_build_left_is_gone(recipe: Recipe) -> None:
    context = prepare(recipe, "FROM scratch\n")
    (context / "app/old.py").write_text("")
    prepare(replace(recipe, code=[entry("app/new.py")]), "FROM scratch\n")
    assert ["new.py"] == [path.name for path in (context / "app").iterdir()]


def test_a_large_model_is_not_copied(recipe: Recipe, tmp_path: Path) -> None:
    model = tmp_path / "large.onnx"
    model.write_bytes(bytes(2**20))
    model.chmod(0o644)
    large = Entry("app/large.onnx", 0o644, "file", 2**20, lambda: model.open("rb"))
    context = prepare(replace(recipe, models=[("large.onnx", [large])]), "")
    assert (context / "models/large.onnx/large.onnx").samefile(model)


def test_a_large_model_of_another_mode_is_copied(recipe: Recipe, tmp_path: Path) -> None:
    model = tmp_path / "large.onnx"
    model.write_bytes(bytes(2**20))
    model.chmod(0o600)
    large = Entry("app/large.onnx", 0o644, "file", 2**20, lambda: model.open("rb"))
    copied = prepare(replace(recipe, models=[("large.onnx", [large])]), "") / "models/large.onnx/large.onnx"
    assert (0o600, 0o644) == tuple(stat.S_IMODE(path.stat().st_mode) for path in (model, copied))


def test_a_context_that_is_a_link_is_not_deleted(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (recipe.folder / ".upon").mkdir()
    (recipe.folder / ".upon/build").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ProjectError, match="the folder is a symlink"):
        prepare(recipe, "")
    assert (tmp_path / "elsewhere").is_dir()


def test_a_containerfile_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"there is no file 'Dockerfile' beside func.yaml: .*\.upon/build/Container"):
        own_containerfile(tmp_path, "Dockerfile")
