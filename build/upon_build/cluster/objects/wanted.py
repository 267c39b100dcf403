"""One deployment as plain facts: what its objects are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upon_build.project.codeless import CodelessProject, codeless
from upon_build.project.manifest import Manifest
from upon_build.project.problems import ProjectError
from upon_build.project.settings import Settings

PROFILE = "prod"


@dataclass(frozen=True, slots=True)
class Wanted:
    """project: the manifest with the settings in force. image: `repository@sha256:…`."""

    project: CodelessProject
    image: str

    @property
    def name(self) -> str:
        return self.project.name

    @property
    def namespace(self) -> str:
        return str(self.settings["deploy.namespace"])

    @property
    def settings(self) -> Settings:
        return self.project.settings


def wanted_of(
    manifest: Manifest,
    image: str,
    folder: Path,
    *,
    profile: str | None,
    env: Mapping[str, str],
    flags: Mapping[str, Any] | None = None,
) -> Wanted:
    """What to deploy: the folder's func.yaml says how where there is one, else the manifest's copy of it.

    Nothing of the person's is imported. Raises ProjectError with everything that is wrong with the project.
    """
    project = codeless(manifest, folder, profile=profile, default_profile=PROFILE, env=env, flags=flags or {})
    if project.errors:
        raise ProjectError(project.errors)
    return Wanted(project, image)
