"""build.builder and what only one of the builders can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.projects import HEAD, lines, write_project

NATIVE = "and the builder native starts no container: set build.builder to dockerfile"


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        ("{systemPackages: [libgl1]}", [f"error func.yaml:3: build.systemPackages is ['libgl1'], {NATIVE}"]),
        ("{containerfile: Dockerfile}", [f"error func.yaml:3: build.containerfile is 'Dockerfile', {NATIVE}"]),
        (
            "{builder: dockerfile, systemPackages: [libgl1], containerfile: Dockerfile}",
            [
                "error func.yaml:3: build.systemPackages is ['libgl1'], and 'Dockerfile' is used as it is: install"
                " them in that file, or remove build.containerfile"
            ],
        ),
        ("{builder: dockerfile, systemPackages: [libgl1, libglib2.0-0, g++]}", []),
        ("{builder: dockerfile, containerfile: deploy/Containerfile}", []),
        ("{systemPackages: []}", []),
    ],
)
def test_what_needs_which_builder(tmp_path: Path, build: str, expected: list[str]) -> None:
    assert expected == lines(write_project(tmp_path, f"{HEAD}build: {build}\n"))


@pytest.mark.parametrize("package", ["libgl1; rm -rf /", "-y", "lib gl", "LibGL", "$(id)", "a"])
def test_only_names_of_packages(tmp_path: Path, package: str) -> None:
    build = f"{{builder: dockerfile, systemPackages: ['{package}']}}"
    fault = f"build.systemPackages[0] must be a Debian package's name such as libgl1, not {package!r}"
    (found,) = lines(write_project(tmp_path, f"{HEAD}build: {build}\n"))
    assert found.startswith(f"error func.yaml:3: {fault}")


@pytest.mark.parametrize("path", ["/etc/passwd", "../Dockerfile", "a/../../b"])
def test_a_containerfile_lies_in_the_project(tmp_path: Path, path: str) -> None:
    (found,) = lines(write_project(tmp_path, f"{HEAD}build: {{builder: dockerfile, containerfile: {path}}}\n"))
    assert "a file's path, relative to func.yaml's folder and inside it" in found
