"""A project known by its manifest: everything but the code, with the settings that are in force here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upon_build.project import objects as _objects
from upon_build.project.check import check
from upon_build.project.deployed import CONFIG, deployed
from upon_build.project.file import NAME, ProjectFile, read_file
from upon_build.project.manifest import Manifest
from upon_build.project.options import unknown_entries
from upon_build.project.problems import ProjectError, fail
from upon_build.project.project import Project
from upon_build.project.service import service_spec
from upon_runtime.spec import Idempotency, ServiceSpec
from upon_triggers.settings import KafkaConnection


class CodelessProject(Project):
    """As a Project, but nothing is imported. Only what its sources need is resolved: a function's secrets are not."""

    def __init__(
        self, manifest: Manifest, file: ProjectFile, profile: str, env: Mapping[str, str], flags: Mapping[str, Any]
    ) -> None:
        super().__init__(file, profile, env, flags)
        self.manifest = manifest

    def _load(self) -> None:
        self.objects = _objects.Objects(functions=list(self.manifest.functions))
        self._configure()
        self._problems += unknown_entries(self.settings, self.objects.functions)
        self._problems += check(self.settings, self.name, self.functions, self.objects)
        self._problems += self.settings.unknown_variables()

    def service_spec(
        self,
        *,
        kafka: KafkaConnection | None = None,
        group_suffix: str = "",
        idempotency: Idempotency | None = None,
    ) -> ServiceSpec:
        """For a trigger host; events are remembered where the functions are. Raises ProjectError with every error."""
        if self.errors:
            raise ProjectError(self.errors)
        return service_spec(
            self.name,
            self.folder,
            self.settings,
            self.functions,
            self.objects,
            kafka=kafka or self.kafka_connection(),
            group_suffix=group_suffix,
            idempotency=idempotency or Idempotency(),
        )


def codeless(
    manifest: Manifest,
    folder: Path,
    *,
    profile: str | None,
    default_profile: str,
    env: Mapping[str, str],
    flags: Mapping[str, Any],
) -> CodelessProject:
    """The manifest's functions with the settings of the folder's func.yaml, else of the manifest's copy of it.

    The profile's part is UPON_CONFIG where that is set, else the profile's that is named. Raises ProjectError.
    """
    path = folder / NAME
    file = read_file(path) if path.is_file() else ProjectFile(path, manifest.project)
    chosen = profile or env.get("FUNC_PROFILE") or default_profile
    if env.get(CONFIG):
        chosen = CONFIG
        file = deployed(file, env[CONFIG])
    elif profile and profile not in (file.data.get("profiles") or {}) and profile not in ("dev", "prod"):
        raise fail("--profile", f"there is no profile {profile!r}", f"a manifest has none: they stand in {NAME}")
    project = CodelessProject(manifest, file, chosen, env, flags)
    if project.name != manifest.service:
        remedy = "make the manifest again, or go to its project's folder"
        raise fail(NAME, f"the project is {project.name!r}, and the manifest that of {manifest.service!r}", remedy)
    project.load()
    return project
