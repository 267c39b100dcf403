"""Where in func.yaml a setting stands."""

from __future__ import annotations

from upon_build.cluster.objects.wanted import Wanted


def at(wanted: Wanted, path: str) -> str:
    """`func.yaml:12`, or the flag or variable that said it; the file itself where nobody says anything."""
    value = wanted.settings.get(path)
    return wanted.settings.file.path.name if value.layer == "default" else value.where
