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
from types import TracebackType
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
    with Making(folder, profile, timeout=timeout) as making:
        return making.result()


class Making:
    """The import under way, for whoever has something else to do meanwhile. Leaving the block ends it.

    folder: of func.yaml, or the file itself; timeout: seconds that `result()` waits.
    """

    def __init__(self, folder: Path, profile: str, *, timeout: float = TIMEOUT) -> None:
        self._folder = folder
        self._timeout = timeout
        self._made: Made | None = None
        command = [sys.executable, "-P", "-m", "upon_build.project.making", str(folder), profile]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def __enter__(self) -> Making:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()  # nothing happens to one that ended
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()  # not read to its end: what the code started may hold it open

    def result(self) -> Made:
        """Wait for the end. Raises ProjectError, each time."""
        if self._made is None:
            self._made = self._read(self._wait())
        return self._made

    def _wait(self) -> bytes:
        try:
            return self._process.communicate(timeout=self._timeout)[0]
        except subprocess.TimeoutExpired:
            message = f"the project's code was not imported within {self._timeout:g} s"
            raise fail(str(self._folder), message, "do no work at import") from None

    def _read(self, output: bytes) -> Made:
        try:
            said = json.loads(output)
        except ValueError:
            message = f"the process that imports the project's code ended with {self._process.returncode}"
            raise fail(str(self._folder), message, "its output above says why") from None
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
