"""Wheels as layers: which share one, in which order, the same everywhere, and an environment that works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.pythons import other_python, others_here
from support.wheels import RUNNING, wheel_of, write_wheel
from support.wheels import real_wheels as real_wheels
from upon_build.image.oci import Layer
from upon_build.image.packages.environment import LARGE, MAX_LARGE, group_wheels, package_layers
from upon_build.image.store import Store
from upon_build.lock.wheels import Wheel
from upon_build.project.problems import ProjectError

PACKAGES = f"opt/venv/lib/python{RUNNING}/site-packages"
INTERPRETER = f"/usr/local/bin/python{RUNNING}"
# The one that runs, and Debian's, whose own packages are in dist-packages.
PYTHONS = sorted({os.path.realpath(sys.executable), *map(str, Path("/usr/bin").glob(f"python{RUNNING}"))})
# Prints the diff_ids of all the wheels in a folder.
CHILD = """
import json, os, sys
from pathlib import Path
from upon_build.image.packages.environment import package_layers
from upon_build.image.store import Store
from upon_build.lock.wheels import Wheel
os.umask(int(os.environ.get("MASK", "22"), 8))
folder = Path(sys.argv[1])
wheels = [Wheel(path, *path.name.split("-")[:2], path.parent.name) for path in folder.glob("*/*.whl")]
if "BACKWARDS" in os.environ:
    wheels.reverse()
layers = package_layers(Store(folder / "cache"), wheels, None, python=sys.argv[2], interpreter="/usr/bin/python3",
                        bytecode="BYTECODE" in os.environ, max_size=2**30)
print(json.dumps([[layer.title, layer.diff_id] for layer in layers]))
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def demo(tmp_path: Path) -> Callable[..., Wheel]:
    """Makes a wheel. size: of what does not compress in it."""

    def make(name: str, files: Mapping[str, bytes] | None = None, size: int = 0, **more: Any) -> Wheel:
        content = {f"{name}/__init__.py": f"NAME = {name!r}\n".encode(), **(files or {})}
        if size:
            content[f"{name}/data.bin"] = os.urandom(size)
        return wheel_of(write_wheel(tmp_path / "wheels", name, content, **more))

    return make


def layers(store: Store, *wheels: Wheel, own: Wheel | None = None, **more: Any) -> list[Layer]:
    settings = {"python": RUNNING, "interpreter": INTERPRETER, "bytecode": False, "max_size": 2**30, **more}
    return package_layers(store, wheels, own, **settings)


def unpack(store: Store, made: list[Layer], folder: Path) -> Path:
    """All layers; returns the virtual environment, whose scripts are told where it is."""
    for layer in made:
        path = store.find(layer.descriptor.digest)
        assert path is not None
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="fully_trusted")
    venv = folder / "opt/venv"
    for script in (venv / "bin").iterdir():
        if not script.is_symlink():
            script.write_bytes(script.read_bytes().replace(b"#!/opt/venv", b"#!" + bytes(venv)))
    return venv


def names(store: Store, layer: Layer) -> list[str]:
    path = store.find(layer.descriptor.digest)
    assert path is not None
    with tarfile.open(path) as archive:
        return [member.name for member in archive.getmembers() if not member.isdir()]


def run(*command: str | Path) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=100)
    assert "" == done.stderr
    assert 0 == done.returncode
    return done.stdout


def test_large_wheels_have_layers_and_small_ones_share_one(store: Store, demo: Callable[..., Wheel]) -> None:
    wheels = [demo("zeta", size=LARGE), demo("beta"), demo("alpha", size=LARGE), demo("gamma")]
    made = layers(store, *wheels, own=demo("upon"))
    titles = ["alpha 1.0", "zeta 1.0", "virtual environment, 2 small packages", "upon 1.0"]
    assert titles == [layer.title for layer in made]
    kinds = [layer.descriptor.annotations["dev.upon.layer"] for layer in made]
    assert ["package", "package", "packages", "upon"] == kinds
    assert {f"{PACKAGES}/alpha/data.bin", f"{PACKAGES}/alpha/__init__.py"} < set(names(store, made[0]))
    assert {"beta", "gamma"} == {name.split("/")[5] for name in names(store, made[2]) if name.endswith("__init__.py")}


def test_upon_from_an_index_has_its_own_layer_too(store: Store, demo: Callable[..., Wheel]) -> None:
    made = layers(store, demo("upon"), demo("beta"))
    assert ["virtual environment, 1 small package", "upon 1.0"] == [layer.title for layer in made]


def test_an_environment_without_packages(store: Store) -> None:
    (made,) = layers(store)
    assert "virtual environment" == made.title
    skeleton = [*(f"opt/venv/bin/python{more}" for more in ("", "3", RUNNING)), "opt/venv/pyvenv.cfg"]
    assert skeleton == names(store, made)


def test_the_number_of_layers_is_bounded(tmp_path: Path) -> None:
    wheels = []
    for number in range(MAX_LARGE + 3):
        path = tmp_path / f"p{number:02}-1.0-py3-none-any.whl"
        path.touch()
        os.truncate(path, LARGE + 1 + number)
        wheels.append(Wheel(path, f"p{number:02}", "1.0", f"{number:064}"))
    groups = group_wheels(wheels, None)
    assert MAX_LARGE + 1 == len(groups)
    assert ["p00", "p01", "p02", "p03"] == [wheel.name for wheel in groups[-2].wheels]
    assert ("packages", "4 packages") == (groups[-2].kind, groups[-2].title)
    assert [f"p{number:02}" for number in range(4, MAX_LARGE + 3)] == [group.wheels[0].name for group in groups[:-2]]
    assert MAX_LARGE + 1 == len(group_wheels(wheels[:MAX_LARGE], None))


def test_another_version_changes_one_layer(store: Store, demo: Callable[..., Wheel]) -> None:
    alpha, beta, gamma = demo("alpha", size=LARGE), demo("beta", size=LARGE), demo("gamma")
    before = layers(store, alpha, beta, gamma)
    after = layers(store, alpha, demo("beta", size=LARGE, version="2.0"), gamma)
    assert [True, False, True] == [old == new for old, new in zip(before, after, strict=True)]


def test_nothing_is_read_again(store: Store, demo: Callable[..., Wheel], monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = [demo("alpha", size=LARGE), demo("beta")]
    before = layers(store, *wheels)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("a wheel was opened"))
    assert before == layers(store, *reversed(wheels))


@pytest.mark.parametrize("interpreter", PYTHONS)
def test_python_finds_the_environment(
    store: Store, demo: Callable[..., Wheel], tmp_path: Path, interpreter: str
) -> None:
    wheel = demo(
        "demo", {"demo/cli.py": b"def main(): print('called')\n"}, entry_points="[console_scripts]\nd = demo.cli:main\n"
    )
    venv = unpack(store, layers(store, wheel, interpreter=interpreter), tmp_path / "root")
    code = (
        "import demo, sys, sysconfig; print(sys.prefix, sys.prefix != sys.base_prefix, sysconfig.get_path('purelib'))"
    )
    assert f"{venv} True {venv}/lib/python{RUNNING}/site-packages\n" == run(venv / "bin/python", "-c", code)
    assert "called\n" == run(venv / "bin/d")
    code = (
        "from importlib.metadata import distribution as d; print(d('demo').version, d('demo').read_text('INSTALLER'))"
    )
    assert "1.0 upon\n\n" == run(venv / f"bin/python{RUNNING}", "-c", code)


@pytest.mark.slow
def test_real_packages(store: Store, real_wheels: list[Wheel], tmp_path: Path) -> None:
    made = layers(store, *real_wheels, interpreter=os.path.realpath(sys.executable))
    versions = {wheel.name: wheel.version for wheel in real_wheels}
    venv = unpack(store, made, tmp_path / "root")
    code = "import numpy, onnxruntime; print(numpy.__version__, onnxruntime.__version__, numpy.ones(2).sum())"
    python = venv / "bin/python"
    assert f"{versions['numpy']} {versions['onnxruntime']} 2.0\n" == run(python, "-B", "-c", code)
    assert f"Flask {versions['flask']}\n" in run(venv / "bin/flask", "--version")
    listed = json.loads(run(sys.executable, "-m", "pip", "--python", python, "list", "--format", "json"))
    assert versions == {re.sub("[-.]", "_", item["name"]).lower(): item["version"] for item in listed}
    missing = (
        "from importlib.metadata import distributions\n"
        "print([str(f) for d in distributions() for f in d.files if not f.locate().exists()])"
    )
    assert "[]\n" == run(python, "-B", "-c", missing)
    shutil.rmtree(tmp_path / "root")


def test_bytecode_is_used(store: Store, demo: Callable[..., Wheel], tmp_path: Path) -> None:
    wheel = demo("demo", {"demo/value.py": b"VALUE = 'compiled'\n"})
    made = layers(store, wheel, interpreter=os.path.realpath(sys.executable), bytecode=True)
    venv = unpack(store, made, tmp_path / "root")
    (venv / f"lib/python{RUNNING}/site-packages/demo/value.py").write_text("VALUE = 'source'\n")
    assert "compiled\n" == run(venv / "bin/python", "-c", "import demo.value; print(demo.value.VALUE)")
    assert made != layers(store, wheel, interpreter=os.path.realpath(sys.executable))


def test_bytecode_of_another_python(store: Store) -> None:
    with pytest.raises(ProjectError, match=r"bytecode of Python 3\.9 can't be made by cpython"):
        layers(store, python="3.9", bytecode=True)


def test_two_packages_that_write_one_file(store: Store, demo: Callable[..., Wheel]) -> None:
    one = demo("one", {"shared/__init__.py": b"1", "shared/same.py": b"same", "shared/b.py": b"1"})
    two = demo("two", {"shared/__init__.py": b"2", "shared/same.py": b"same", "shared/b.py": b"2"}, size=LARGE)
    message = (
        f"func.lock: one and two have different content for {PACKAGES}/shared/__init__.py, {PACKAGES}/shared/b.py: "
        "one would break the other: leave one of them out, and run `func lock`"
    )
    with pytest.raises(ProjectError) as caught:
        layers(store, one, two)
    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("files", "whose"),
    [
        ({"demo-1.0.data/scripts/python": b"#!/bin/sh\n"}, "the virtual environment and demo"),
        ({"demo-1.0.data/data/pyvenv.cfg": b""}, "the virtual environment and demo"),
        ({"demo-1.0.data/data/bin/python3/x": b""}, "the virtual environment and demo"),
        ({"other": b""}, "demo and other"),
        ({"other/__init__.py/x": b""}, "demo and other"),
    ],
)
def test_what_a_package_may_not_replace(
    store: Store, demo: Callable[..., Wheel], files: Mapping[str, bytes], whose: str
) -> None:
    with pytest.raises(ProjectError, match=rf"func\.lock: {whose} have different content for opt/venv/"):
        layers(store, demo("demo", files), demo("other"))


def test_the_same_file_in_two_packages_is_there_once(store: Store, demo: Callable[..., Wheel]) -> None:
    (made,) = layers(store, demo("one", {"shared/__init__.py": b""}), demo("two", {"shared/__init__.py": b""}))
    assert 1 == names(store, made).count(f"{PACKAGES}/shared/__init__.py")


def test_stray_tests_are_no_conflict(store: Store, demo: Callable[..., Wheel]) -> None:
    one = demo("one", {"tests/__init__.py": b"1", "LICENSE.txt": b"1"})
    (made,) = layers(store, one, demo("two", {"tests/__init__.py": b"2", "LICENSE.txt": b"2"}))
    assert 1 == names(store, made).count(f"{PACKAGES}/tests/__init__.py")


def test_a_layer_that_is_too_large(store: Store, demo: Callable[..., Wheel]) -> None:
    message = (
        r"func\.lock: the layer 'alpha 1\.0' has 2Mi, most of it .*/alpha/data\.bin with 2Mi, and build\.maxLayerSize"
    )
    with pytest.raises(ProjectError, match=message):
        layers(store, demo("alpha", size=2 * LARGE), demo("beta"), max_size=LARGE)


def test_a_wheel_that_is_damaged(store: Store, demo: Callable[..., Wheel]) -> None:
    bad = demo("bad", {"bad/x.py": b"x"}, record={"bad/x.py": "sha256=AAAA"})
    with pytest.raises(ProjectError, match=re.escape("bad-1.0-py3-none-any.whl: its file 'bad/x.py' differs")):
        layers(store, demo("alpha", size=4 * LARGE), bad)
    assert [] == [item for item in store.items() if item.kind == "tmp"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels with everything that could differ, each in a folder named by a made-up hash."""
    made = tmp_path_factory.mktemp("wheels")
    files = {f"a/{name}.py": b"X = {'a', 'b', 'c', 'd'}\n" for name in "zyxcba"}
    write_wheel(made / "1", "a", {**files, "a-1.0.data/scripts/run": b"#!python\n"}, executable=("a/z.py",))
    write_wheel(made / "2", "b", {"b/big.bin": os.urandom(2 * LARGE), "b/grün.py": b""})
    write_wheel(made / "3", "c", entry_points="[console_scripts]\nx = c:x\na = c:a\n")
    return made


def ids(folder: Path, program: Path | str = sys.executable, **env: str) -> list[list[str]]:
    command = [program, "-c", CHILD, str(folder), RUNNING]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=100)
    assert "" == done.stderr
    shutil.rmtree(folder / "cache")
    found: list[list[str]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[list[str]]:
    return ids(folder)


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "MASK": "77", "BACKWARDS": "1"},
        {"PYTHONHASHSEED": "2", "TZ": "America/Lima", "MASK": "0", "LC_ALL": "C", "PYTHONUTF8": "0"},
    ],
)
def test_layers_are_the_same_whatever_the_process(folder: Path, expected: list[list[str]], env: dict[str, str]) -> None:
    assert expected == ids(folder, **env)


def test_layers_are_the_same_in_another_folder(folder: Path, expected: list[list[str]], tmp_path: Path) -> None:
    for number in "321":
        shutil.copytree(folder / number, tmp_path / "other" / number, copy_function=shutil.copyfile)
    assert expected == ids(tmp_path / "other")


@pytest.mark.parametrize("version", [RUNNING, *others_here()])
def test_layers_are_the_same_by_another_python(folder: Path, expected: list[list[str]], version: str) -> None:
    assert expected == ids(folder, sys.executable if version == RUNNING else other_python(version))


def test_bytecode_is_the_same_whatever_the_process(folder: Path, expected: list[list[str]]) -> None:
    first = ids(folder, BYTECODE="1", PYTHONHASHSEED="1")
    assert first == ids(folder, BYTECODE="1", PYTHONHASHSEED="2", PYTHONOPTIMIZE="2", TZ="Asia/Tokyo", MASK="77")
    assert first != expected
