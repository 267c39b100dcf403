"""pyproject.toml: the dependencies that a project states there."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upon_build.lock.requirement import read_line, with_extras
from upon_build.project.problems import ProjectError, did_you_mean, fail

if TYPE_CHECKING:
    from packaging.requirements import Requirement

NAME = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Stated:
    """requirements: None where the file leaves them to another one; dynamic: where its build back end makes them."""

    requirements: list[Requirement] | None
    dynamic: bool = False
    requires_python: str = ""


def read_pyproject(folder: Path) -> Stated | None:
    """What the file says; None where there is none. `[tool.upon] extras` names extras of the project to add.

    Raises ProjectError for what is no TOML, and for requirements that an image can't take.
    """
    path = folder / NAME
    try:
        data = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise fail(NAME, f"the file can't be read: {error.strerror}") from None
    except ValueError as error:
        raise fail(NAME, f"not TOML: {error}", "correct the file") from None
    project = _table(data, "project")
    tool = _table(data, "tool")
    dynamic = "dependencies" in project.get("dynamic", [])
    python = project.get("requires-python", "")
    extras = _texts(_table(tool, "upon", "tool.upon"), "extras", "tool.upon.extras")
    listed = "dependencies" in project
    if not listed and not extras:
        return Stated(None, dynamic, str(python))
    requirements = [read_line(line, NAME) for line in _texts(project, "dependencies", "project.dependencies")]
    requirements += _extras(project, extras)
    _refuse_sources(tool, requirements)
    return Stated(requirements, dynamic and not listed, str(python))


def _extras(project: Mapping[str, Any], extras: list[str]) -> list[Requirement]:
    optional = _table(project, "optional-dependencies", "project.optional-dependencies")
    known = {name: _texts(optional, name, f"optional-dependencies.{name}") for name in optional}
    try:
        return list(with_extras(extras, known, str(project.get("name", "the project")), NAME))
    except ProjectError as error:
        unknown = [extra for extra in extras if extra not in known]
        if not unknown:
            raise
        message = f"[tool.upon] extras names {unknown[0]!r}, which is no optional dependency"
        raise fail(NAME, message, did_you_mean(unknown[0], known) or "there are none") from error


def _refuse_sources(tool: Mapping[str, Any], requirements: list[Requirement]) -> None:
    """uv's own way to take a package from elsewhere: left out in silence, it would be another package."""
    from packaging.utils import canonicalize_name

    sources = _table(_table(tool, "uv"), "sources", "tool.uv.sources")
    wanted = {canonicalize_name(requirement.name) for requirement in requirements}
    for name in sources:
        if canonicalize_name(name) in wanted:
            message = f"[tool.uv.sources] takes {name!r} from elsewhere, and an image takes wheels from an index"
            raise fail(NAME, message, "remove the entry, and set UV_INDEX to the index that has the package's wheels")


def _table(data: Mapping[str, Any], key: str, shown: str = "") -> Mapping[str, Any]:
    found = data.get(key, {})
    if not isinstance(found, Mapping):
        raise fail(NAME, f"{shown or key} is no table", "correct the file")
    return found


def _texts(data: Mapping[str, Any], key: str, shown: str) -> list[str]:
    found = data.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise fail(NAME, f"{shown} is no list of texts", "correct the file")
    return found
