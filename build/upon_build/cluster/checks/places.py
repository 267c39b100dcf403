"""Where in func.yaml a setting stands."""

from __future__ import annotations

from upon_build.cluster.objects.wanted import Wanted


def at(wanted: Wanted, path: str) -> str:
    """`func.yaml:12`, or the flag or variable that said it."""
    return wanted.settings.get(path).where
