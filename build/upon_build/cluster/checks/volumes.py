"""Where volumes are mounted, and from what."""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import normpath

from upon_build.cluster.checks.places import at
from upon_build.cluster.objects.pods import TMP, volume_name
from upon_build.cluster.objects.wanted import Wanted
from upon_build.image.assembly.config import APP, MANIFEST_PATH, VENV
from upon_build.project.problems import Problem

SOURCES = ("secret", "configMap", "emptyDir", "persistentVolumeClaim")
TAKEN = frozenset({"/", "/dev", "/dev/log", "/proc", "/sys", APP, VENV, MANIFEST_PATH.rpartition("/")[0]})


def volume_problems(wanted: Wanted) -> Iterator[Problem]:
    where = at(wanted, "run.volumes")
    names: dict[str, str] = {volume_name(TMP): TMP}
    for volume in wanted.settings["run.volumes"]:
        path = normpath(volume["path"])
        sources = [key for key in SOURCES if key in volume]
        if len(sources) != 1:
            message = f"the volume {path!r} has {' and '.join(sources) or 'no source'}"
            yield Problem("error", where, message, f"give it one of {', '.join(SOURCES)}")
        if ":" in path or ".." in volume["path"].split("/") or path in TAKEN:
            yield Problem("error", where, f"a volume can't be mounted at {path!r}", "choose another folder")
        if path == TMP and ("secret" in volume or "configMap" in volume):
            message = f"{TMP} is the one folder that can be written to, and the volume there could not be"
            yield Problem("error", where, message, "choose another folder")
        if path != TMP and names.setdefault(volume_name(path), path) != path:
            message = f"the volumes {names[volume_name(path)]!r} and {path!r} would have one name"
            yield Problem("error", where, message, "mount one of them elsewhere")
