"""What a deployment says is in force, as it travels to the pods: UPON_CONFIG, and the variables of its secrets.

Secrets stay references in it: each becomes a variable that Kubernetes fills, under the name by which the project looks
for it.
"""

from __future__ import annotations

import json
from typing import Any

from upon_build.cluster.objects.carried import carried
from upon_build.cluster.objects.leases import STORE, pods_fire
from upon_build.cluster.objects.references import is_whole, referred, resolved_in_pods
from upon_build.cluster.objects.wanted import Wanted
from upon_build.project.deployed import CONFIG


def config_env(wanted: Wanted) -> list[dict[str, Any]]:
    """The container's variables: UPON_CONFIG, run.envs, and the secrets that any setting refers to, by name."""
    found = {CONFIG: literal(CONFIG, upon_config(wanted))}
    found |= {entry["name"]: entry for entry in secret_envs(wanted)}
    envs = wanted.settings.get("run.envs")
    for env in envs.value:
        entry = _env_entry(env["name"], env["value"], envs.where)
        if entry is not None:
            found[env["name"]] = entry
    if pods_fire(wanted):
        found[STORE["name"]] = dict(STORE)
    return [found[name] for name in sorted(found)]


def upon_config(wanted: Wanted) -> str:
    """A profile's content as JSON: what a pod does not find in the image. `{}` where it finds everything."""
    return json.dumps(carried(wanted), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def secret_envs(wanted: Wanted, below: str = "") -> list[dict[str, Any]]:
    """The variables by which a pod resolves the references in its settings (those whose path begins with below)."""
    found: dict[str, dict[str, Any]] = {}
    for reference in resolved_in_pods(wanted.settings, below):
        found.setdefault(reference.variable, reference.as_env())
    return [found[name] for name in sorted(found)]


def literal(name: str, value: str) -> dict[str, Any]:
    """A variable with this very value: Kubernetes would put another variable's for `$(NAME)`, and `$` for `$$`."""
    touched = "$(" in value or "$$" in value
    return {"name": name, "value": value.replace("$", "$$") if touched else value}


def _env_entry(name: str, value: str, where: str) -> dict[str, Any] | None:
    """None for a text around a reference: the pod puts it together, from the reference's own variable."""
    found = list(referred(value, where))
    if not found:
        return literal(name, value)
    return found[0].as_env(name) if is_whole(value) else None
