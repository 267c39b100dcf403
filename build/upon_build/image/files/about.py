"""What a project says of itself for people: its version and licence, from pyproject.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class About:
    """version, license (an SPDX expression): each empty where it is not said."""

    version: str = ""
    license: str = ""


def read_about(folder: Path) -> About:
    """Of the [project] table; nothing where there is none that can be read, since no build depends on it."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project")
    except (OSError, ValueError):
        return About()
    said = project if isinstance(project, dict) else {}
    return About(_text(said.get("version")), _text(said.get("license")))


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
