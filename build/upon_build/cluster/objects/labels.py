"""How objects of ours are known again, in the cluster and among each other."""

from __future__ import annotations

FIELD_MANAGER = "upon"
MANAGED_BY = {"app.kubernetes.io/managed-by": "upon"}
NAME = "app.kubernetes.io/name"
COMPONENT = "app.kubernetes.io/component"


def labels_of(project: str, component: str = "") -> dict[str, str]:
    """The labels of a project's object. component: what it is in it, such as `function` or `triggers`."""
    return {**MANAGED_BY, NAME: project, **({COMPONENT: component} if component else {})}


def selector_of(project: str) -> str:
    """Selects everything of a project, and nothing that is not ours."""
    return ",".join(f"{key}={value}" for key, value in labels_of(project).items())
