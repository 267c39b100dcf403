"""Projects written into a folder of the test's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

from upon_build.project import Project, ProjectError, load_project, read_project

HEAD = "name: demo\nfunctions: [app.py]\n"
APP = "import upon\n@upon.kafka('orders')\ndef score(event): ...\n"


def write_project(folder: Path, yaml: str = HEAD, app: str = APP, **files: str) -> Path:
    """func.yaml, app.py and further files; `lib__score.py` as a keyword is lib/score.py."""
    (folder / "func.yaml").write_text(dedent(yaml))
    (folder / "app.py").write_text(dedent(app))
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    return folder


def read(folder: Path, *, env: Mapping[str, str] | None = None, **more: Any) -> Project:
    return read_project(folder, env=env or {}, **more)


def lines(folder: Path, *, env: Mapping[str, str] | None = None, **more: Any) -> list[str]:
    """Every problem of the project as `severity location: message: remedy`, the folder written as FOLDER."""
    try:
        with load_project(folder, env=env or {}, **more) as project:
            problems = project.problems
    except ProjectError as error:
        problems = error.problems
    return [f"{problem.severity} {problem}".replace(str(folder), "FOLDER") for problem in problems]
