"""The variables of a pod: which are taken, and what must not be readable in them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from upon_build.cluster.checks.names import DATA_KEY, OBJECT
from upon_build.cluster.checks.places import at
from upon_build.cluster.objects.carried import carried, lost
from upon_build.cluster.objects.references import references, resolved_in_pods
from upon_build.cluster.objects.wanted import Wanted
from upon_build.project.deployed import CONFIG
from upon_build.project.problems import Problem
from upon_build.project.secrets import REFERENCE, is_reference
from upon_build.project.settings import LEAVES, OTHER_VARIABLES, variable

KNATIVE = frozenset({"PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"})
OURS = frozenset({CONFIG, "UPON_MANIFEST", "UPON_STATE_DIR", "HOST"})
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SETTINGS = OTHER_VARIABLES | {variable(keys) for keys in LEAVES}


def env_problems(wanted: Wanted) -> Iterator[Problem]:
    where = at(wanted, "run.envs")
    filled = {one.variable: (one.sort, one.name, one.key) for one in resolved_in_pods(wanted.settings)}
    for env in wanted.settings["run.envs"]:
        name, value = env["name"], env["value"]
        if name in KNATIVE or name in OURS:
            message = f"run.envs sets {name}, which {'Knative' if name in KNATIVE else 'Upon'} sets itself"
            yield Problem("error", where, message, "remove it, or give it another name")
        elif name in _SETTINGS or name.startswith("FUNC_OPTIONS_"):
            message = f"run.envs sets {name}, which would be a setting for the pods alone"
            yield Problem("error", where, message, "say it in func.yaml or in the profile")
        found = REFERENCE.fullmatch(value)
        if name in filled and (found is None or found.groups() != filled[name]):
            message = f"run.envs sets {name}, by which a pod finds {' '.join(filled[name][:2])!r}"
            yield Problem("error", where, message, "give one of them another name")


def secret_problems(wanted: Wanted) -> Iterator[Problem]:
    yield from _references(wanted)
    for path in ("kafka.sasl.password", "idempotency.url"):
        value = wanted.settings.get(path)
        text = str(value.value or "")
        if text and not is_reference(text) and (path != "idempotency.url" or "@" in text):
            message = f"{path} is plain text, which many could read in the cluster"
            yield Problem("error", value.where, message, "write a reference: {{ secret:name:key }}")


def _references(wanted: Wanted) -> Iterator[Problem]:
    variables: dict[str, tuple[str, str, str]] = {}
    for one in references(wanted.settings):
        this = (one.sort, one.name, one.key)
        seen = variables.setdefault(one.variable, this)
        if seen != this:
            message = f"{one.name}:{one.key} and {seen[1]}:{seen[2]} would both be the variable {one.variable}"
            yield Problem("error", one.where, message, "give one of them another name or key")
        elif one.variable in KNATIVE | OURS or not _VARIABLE.fullmatch(one.variable):
            message = f"{one.name}:{one.key} would be the variable {one.variable}, which can't be"
            yield Problem("error", one.where, message, "give it another name or key")
        if not OBJECT.fullmatch(one.name):
            yield Problem("error", one.where, f"{one.name!r} is no name of a Secret or ConfigMap", "correct it")
        if not DATA_KEY.fullmatch(one.key):
            yield Problem("error", one.where, f"{one.key!r} is no key of a Secret or ConfigMap", "correct it")


def carried_problems(wanted: Wanted) -> Iterator[Problem]:
    """The image's func.yaml says more than the one here, and a profile takes nothing away."""
    for path in lost(wanted, carried(wanted)):
        message = f"the image's func.yaml adds to {path}, and would be heard in the pods"
        where = at(wanted, path) if tuple(path.split(".")) in LEAVES else wanted.settings.file.path.name
        yield Problem("error", where, message, "build the image again")
