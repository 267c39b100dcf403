"""A manifest from a project's folder, by one import of its code in a process of its own.

    python -P -m upon_build.project.making FOLDER PROFILE

writes one JSON object to stdout: {"manifest", "seconds"}, or {"problems"}. Whatever the code prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

from upon_build.project import ProjectError, load_project
from upon_build.project.manifest import Manifest, manifest_of, read_manifest
from upon_build.project.problems import Problem, fail

TIMEOUT = 300.0  # seconds for an import


class Made(NamedTuple):
    """seconds: what the import of the project's code took."""

    manifest: Manifest
    seconds: float


def make_manifest(folder: Path, profile: str, *, timeout: float = TIMEOUT) -> Made:
    """Import the project's code in another process. Raises ProjectError for what `func check` calls an error."""
    command = [sys.executable, "-P", "-m", "upon_build.project.making", str(folder), profile]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        message = f"the project's code was not imported within {timeout:g} s"
        raise fail(str(folder), message, "do no work at import") from None
    try:
        said = json.loads(done.stdout)
    except ValueError:
        message = f"the process that imports the project's code ended with {done.returncode}"
        raise fail(str(folder), message, "its output above says why") from None
    if "problems" in said:
        raise ProjectError([Problem(**problem) for problem in said["problems"]])
    return Made(read_manifest(said["manifest"].encode()), said["seconds"])


def main(folder: str, profile: str) -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a library that writes to the descriptor itself goes to stderr too
    with redirect_stdout(sys.stderr), out:
        json.dump(_made(folder, profile), out)


def _made(folder: str, profile: str) -> dict[str, object]:
    began = time.monotonic()
    try:
        with load_project(folder, profile=profile) as project:
            seconds = time.monotonic() - began
            return {"manifest": manifest_of(project).to_bytes().decode(), "seconds": round(seconds, 3)}
    except ProjectError as error:
        return {"problems": [problem.as_dict() for problem in error.problems]}


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that the code left running are nobody's business
