"""What a deployment says is in force: one variable that takes the place of a profile, so that images have none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from upon_build.project.file import ProjectFile
from upon_build.project.problems import fail

CONFIG = "UPON_CONFIG"  # a profile's content as JSON
_REMEDY = "it holds what a profile of func.yaml holds"


def deployed(file: ProjectFile, text: str) -> ProjectFile:
    """The file with the variable's content as its only profile, CONFIG. Raises ProjectError for anything but JSON."""
    return ProjectFile(file.path, {**file.data, "profiles": {CONFIG: _config(text)}})


def _config(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise fail(CONFIG, f"not JSON: {error}", _REMEDY) from None
    if not isinstance(value, Mapping):
        raise fail(CONFIG, "it must be a mapping", _REMEDY)
    return value
