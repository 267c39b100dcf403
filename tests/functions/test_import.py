from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {
    "asyncio",
    "cloudevents",
    "flask",
    "granian",
    "kafka",
    "numpy",
    "onnxruntime",
    "pathlib",
    "prometheus_client",
    "pydantic",
    "upon_build",
    "upon_runtime",
    "upon_triggers",
}


def imported_by(code: str) -> set[str]:
    code += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout))


def test_import_upon_is_light() -> None:
    bare = imported_by("pass")
    assert set() == (imported_by("import upon") - bare) & HEAVY


def test_writing_a_function_file_is_light_too() -> None:
    code = """
import upon
model = upon.Model("m", "m.onnx")
topic = upon.Topic("t")
@upon.kafka("a")
@upon.cron("* * * * *")
@upon.http("GET /a")
@upon.cloudevent()
@upon.options(timeout=1)
@upon.batched()
def f(event: upon.Event): ...
@upon.resource
def r(): yield 1
"""
    bare = imported_by("pass")
    assert set() == (imported_by(code) - bare) & (HEAVY - {"pathlib"})
