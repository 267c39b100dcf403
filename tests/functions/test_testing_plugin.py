from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

APP = """
import upon

@upon.http("GET /who")
def who() -> dict:
    return {"who": "me"}
"""
TEST = """
def test_who(upon_client):
    assert upon_client.http.get("/who").json == {"who": "me"}
"""


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def test_the_fixture_finds_func_yaml_above_the_test(tmp_path: Path) -> None:
    (tmp_path / "func.yaml").write_text("name: demo\nfunctions: [app.py]\n")
    (tmp_path / "app.py").write_text(APP)
    tests = tmp_path / "tests" / "deep"
    tests.mkdir(parents=True)
    (tests / "test_who.py").write_text(TEST)
    done = run_pytest(tests, "-W", "error", "--rootdir", str(tests))
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_without_a_func_yaml_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "test_who.py").write_text(TEST)
    done = run_pytest(tmp_path, "--rootdir", str(tmp_path))
    assert done.returncode == 1
    assert "upon_client: no func.yaml in the folder of" in done.stdout


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    heavy = ("flask", "numpy", "onnxruntime", "kafka", "prometheus_client", "pydantic", "upon_runtime", "upon.testing")
    code = f"import sys, upon._pytest_plugin; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "[]" == done.stdout.strip()
