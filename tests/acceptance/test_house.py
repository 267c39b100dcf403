"""The house: the layout, the layers, what stays light, and the commands that a newcomer types first."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {"functions": "upon", "triggers": "upon_triggers", "runtime": "upon_runtime", "build": "upon_build"}
HEAVY = {
    "confluent_kafka",
    "flask",
    "granian",
    "kafka",
    "kubernetes",
    "numpy",
    "onnxruntime",
    "prometheus_client",
    "pydantic",
    "rich",
    "watchfiles",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def imported_by(code: str) -> set[str]:
    """The top-level modules that are loaded after this code ran in a fresh interpreter."""
    show = "import sys; print('\\n'.join({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stderr.split())


def test_func_help_loads_nothing_heavy() -> None:
    call = "from upon_build.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert set() == imported_by(call) & HEAVY


@pytest.mark.parametrize(("room", "package"), ROOMS.items())
def test_a_room_holds_one_typed_package_and_is_none_itself(room: str, package: str) -> None:
    assert (ROOT / room / package / "py.typed").is_file()
    assert not (ROOT / room / "__init__.py").exists()


def test_modules_of_upon_do_not_shadow_public_names() -> None:
    public = {path.stem for path in (ROOT / "functions/upon").glob("*.py") if not path.stem.startswith("_")}
    assert {"testing"} >= public


def sources() -> list[Path]:
    found = [path for room, package in ROOMS.items() for path in sorted((ROOT / room / package).rglob("*.py"))]
    assert len(found) > 50
    return [path for path in found if "templates" not in path.parts]


def test_files_stay_small() -> None:
    assert [] == [path for path in sources() if len(path.read_text().splitlines()) > 600]


def test_every_module_says_why_it_exists() -> None:
    silent = [path for path in sources() if not ast.get_docstring(ast.parse(path.read_text())) and path.stat().st_size]
    assert [] == silent


def test_test_files_have_unique_names() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_there_are_the_extras_that_the_design_names() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    light = {"all", "cpu", "deploy", "dev", "gpu", "kafka", "serve", "test"}
    assert light | {"postgresql", "redis"} == set(extras)
    assert ["upon[cpu,deploy,dev,kafka,postgresql,redis,serve]"] == extras["all"]


def test_the_licence_is_apache_2() -> None:
    assert "Apache-2.0" == PROJECT["project"]["license"]
    for path in (ROOT / "LICENSE", ROOT / "models/magika/LICENSE"):
        assert "Apache License\n                           Version 2.0" in path.read_text()


def test_the_model_is_the_one_its_readme_describes() -> None:
    digest = hashlib.sha256((ROOT / "models/magika/model.onnx").read_bytes()).hexdigest()
    assert digest in (ROOT / "models/magika/README.md").read_text()


@pytest.mark.parametrize(("ci", "expected"), [("", "1 skipped"), ("true", "1 failed")])
def test_in_ci_a_skip_is_a_failure(ci: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_it.py").write_text("import pytest\ndef test_it():\n    pytest.skip('no Java: apt install it')\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rsf", "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "CI": ci, "PYTHONPATH": str(ROOT / "tests")},
        check=False,
    )
    assert expected in done.stdout
    assert "no Java: apt install it" in done.stdout


def make(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env={**kept, **env}, capture_output=True, text=True, timeout=120, check=False
    )


def test_make_help_names_every_target() -> None:
    shown = re.findall(r"^make ([\w-]+)", make("help").stdout, re.MULTILINE)
    assert ["run", "test", "check", "bench", "chaos", "chaos-outages", "chaos-memory", "clean"] == shown


def test_ci_runs_make_test() -> None:
    assert "make test" in (ROOT / ".ci/run").read_text().splitlines()
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_an_old_python_is_refused_by_name(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make("setup-all", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert (2, f"Upon needs Python 3.11 or newer, and {old} is not: try make PYTHON=python3.12") == (
        done.returncode,
        done.stderr.splitlines()[0],
    )


def test_a_finished_set_up_is_not_repeated(tmp_path: Path) -> None:
    """Offline: no pip is there to be called, and none is asked for."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to("/bin/false")
    for stamp in ("installed-all", "installed-test"):
        (tmp_path / stamp).write_bytes((ROOT / "pyproject.toml").read_bytes())
    done = make("setup-all", "setup-test", f"VENV={tmp_path}")
    assert (0, "") == (done.returncode, done.stderr)


def test_a_changed_project_is_installed_again(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to("/bin/false")
    (tmp_path / "installed-all").write_text("another pyproject.toml")
    assert 2 == make("setup-all", f"VENV={tmp_path}").returncode
    assert "another pyproject.toml" == (tmp_path / "installed-all").read_text()
