from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.projects import HEAD, write_project
from upon_build.lock.lockfile import Lock
from upon_build.lock.ours import Ours, find_ours
from upon_build.lock.requirements import Requirements, read_requirements
from upon_build.project import ProjectError, read_project

RELEASE = Ours("1.2.0", None)
CHECKOUT = Ours(
    "0.1.0",
    Path("/src/upon"),
    ("click>=8",),
    {
        "cpu": ["onnxruntime>=1.20"],
        "gpu": ["onnxruntime-gpu>=1.20"],
        "serve": ["flask"],
        "kafka": ["kafka-python"],
        "redis": ["redis"],
        "postgresql": ["psycopg[binary]"],
        "dev": ["rich"],
        "all": ["upon[cpu,dev]"],
    },
)
LOCK = Lock("3.12", ("linux/arm64",), "0" * 64, ())


def read(folder: Path, yaml: str = HEAD, *, requirements: str = "", pyproject: str = "", **more: Any) -> Requirements:
    write_project(folder, yaml)
    for name, text in (("requirements.txt", requirements), ("pyproject.toml", pyproject)):
        if text:
            (folder / name).write_text(text)
    more.setdefault("ours", RELEASE)
    return read_requirements(read_project(folder, env=more.pop("env", {}), default_profile="prod"), **more)


def test_upon_alone(tmp_path: Path) -> None:
    found = read(tmp_path, python="3.11")
    assert ("upon[cpu,kafka,serve]==1.2.0",) == found.lines
    assert ("3.11", ("linux/amd64",), "package", "", ()) == (
        found.python,
        found.platforms,
        found.upon,
        found.source,
        found.excluded,
    )


def test_a_checkout_never_names_itself(tmp_path: Path) -> None:
    """An index may have another package called upon."""
    found = read(tmp_path, requirements="upon[all]>=9\nnumpy\n", ours=CHECKOUT)
    assert ("click>=8", "flask", "kafka-python", "numpy", "onnxruntime>=1.20", "rich") == found.lines
    assert ("checkout", ("upon",)) == (found.upon, found.excluded)


def test_extras_that_the_project_names_are_added(tmp_path: Path) -> None:
    assert ("numpy", "upon[cpu,dev,kafka,serve]==1.2.0") == read(tmp_path, requirements="upon[dev]\nnumpy").lines


def test_another_version_than_the_one_that_builds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"'upon>=2' does not allow the Upon 1\.2\.0 that builds the image"):
        read(tmp_path, requirements="upon>=2")


def test_pyproject_wins_and_it_is_said(tmp_path: Path) -> None:
    found = read(tmp_path, requirements="a", pyproject="[project]\ndependencies = ['b']\n")
    assert "b" in found.lines
    assert "a" not in found.lines
    assert ("pyproject.toml", ("the dependencies are those of pyproject.toml; requirements.txt is not used",)) == (
        found.source,
        found.notes,
    )


def test_a_pyproject_without_dependencies_leaves_them_to_the_other_file(tmp_path: Path) -> None:
    found = read(tmp_path, requirements="a", pyproject="[tool.ruff]\n")
    assert "a" in found.lines
    assert ("pyproject.toml states no dependencies; those of requirements.txt are used",) == found.notes


def test_dynamic_dependencies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"pyproject\.toml: the dependencies are dynamic"):
        read(tmp_path, pyproject="[project]\ndynamic = ['dependencies']\n")


@pytest.mark.parametrize(
    ("yaml", "requirements"),
    [
        ("deploy: {gpu: {count: 1}}", ""),
        ("profiles: {big: {deploy: {gpu: {count: 2}}}}", ""),
        ("build: {baseImage: gpu}", ""),
        ("", "onnxruntime_gpu>=1.20"),
        ("", "upon[gpu]"),
    ],
)
def test_a_gpu_brings_cuda_and_leaves_the_cpu_package_out(tmp_path: Path, yaml: str, requirements: str) -> None:
    found = read(tmp_path, HEAD + yaml + "\n", requirements=requirements)
    assert found.gpu
    assert "onnxruntime-gpu[cuda,cudnn]" in found.lines
    assert "upon[gpu,kafka,serve]==1.2.0" in found.lines
    assert ("onnxruntime",) == found.excluded


def test_the_cpu_preset_decides_over_gpus(tmp_path: Path) -> None:
    assert not read(tmp_path, HEAD + "build: {baseImage: cpu}\ndeploy: {gpu: {count: 1}}\n").gpu


def test_stores_of_every_profile_are_in_the_one_image(tmp_path: Path) -> None:
    yaml = HEAD + "idempotency: {store: redis}\nprofiles: {prod: {idempotency: {store: postgresql}}}\n"
    assert ("upon[cpu,kafka,postgresql,redis,serve]==1.2.0",) == read(tmp_path, yaml).lines


def test_which_python_and_platforms(tmp_path: Path) -> None:
    file = HEAD + "build: {python: '3.13', platforms: [linux/arm64, linux/amd64]}\n"
    chosen = read(tmp_path, file, lock=LOCK)
    assert ("3.13", ("linux/amd64", "linux/arm64")) == (chosen.python, chosen.platforms)
    flags = read(tmp_path, file, lock=LOCK, python="3.14", platforms=["linux/amd64"])
    assert ("3.14", ("linux/amd64",)) == (flags.python, flags.platforms)
    kept = read(tmp_path, lock=LOCK)
    assert ("3.12", ("linux/arm64",)) == (kept.python, kept.platforms)


def test_the_environment_does_not_change_what_is_locked(tmp_path: Path) -> None:
    assert read(tmp_path).inputs() == read(tmp_path, env={"FUNC_DELIVERY_RETRY": "9"}).inputs()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"python": "3"}, "--python: '3' is no version of Python"),
        ({"platforms": ["linux/riscv64"]}, "--platform: there are no wheels for the platform 'linux/riscv64'"),
        ({"yaml": HEAD + "build: {platforms: [linux/386]}\n"}, "func.yaml:3: there are no wheels"),
        ({"pyproject": "[project]\ndependencies=[]\nrequires-python='>=3.12'", "python": "3.11"}, "the image has 3.11"),
        ({"pyproject": "[project]\ndependencies=[]\nrequires-python='soon'"}, "requires-python 'soon' can't be read"),
    ],
)
def test_what_can_not_be_locked_is_refused(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ProjectError) as caught:
        read(tmp_path, **more)
    assert said in str(caught.value)


def test_a_patch_release_may_be_asked_for(tmp_path: Path) -> None:
    text = "[project]\ndependencies=[]\nrequires-python='>=3.11.4'"
    assert "3.11" == read(tmp_path, pyproject=text, python="3.11").python


def test_inputs_change_with_whatever_is_resolved(tmp_path: Path) -> None:
    base = Requirements(("a",), "3.11", ("linux/amd64",))
    others = [
        Requirements(("b",), "3.11", ("linux/amd64",)),
        Requirements(("a",), "3.12", ("linux/amd64",)),
        Requirements(("a",), "3.11", ("linux/arm64",)),
        Requirements(("a",), "3.11", ("linux/amd64",), gpu=True),
        Requirements(("a",), "3.11", ("linux/amd64",), upon="checkout"),
        Requirements(("a",), "3.11", ("linux/amd64",), constraints=("c",)),
        Requirements(("a",), "3.11", ("linux/amd64",), hashes={"a": frozenset({"0"})}),
    ]
    assert 8 == len({one.inputs() for one in [base, *others]})
    assert base.inputs() == Requirements(("a",), "3.11", ("linux/amd64",), source="x", notes=("y",)).inputs()


def test_this_upon_is_found() -> None:
    ours = find_ours()
    assert ours.checkout is None or (ours.checkout / "pyproject.toml").is_file()
    assert ours.lines(["cpu"])
