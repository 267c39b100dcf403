"""What Kubernetes takes for the name of an object, and for labels and annotations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from upon_build.cluster.checks.places import at
from upon_build.cluster.objects.labels import labels_of
from upon_build.cluster.objects.wanted import Wanted
from upon_build.project.problems import Problem

_PART = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
OBJECT = re.compile(rf"(?=.{{1,253}}\Z){_PART}(\.{_PART})*")
DATA_KEY = re.compile(r"(?!\.\.?\Z)[-._a-zA-Z0-9]{1,253}")
_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_VALUE = re.compile(f"({_NAME})?")
_LOCAL = re.compile(_NAME)
_QUANTITY = r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?"
_SIDECAR = re.compile(r"queue\.sidecar\.serving\.knative\.dev/(cpu|memory|ephemeral-storage)-resource-(request|limit)")


def name_problems(wanted: Wanted) -> Iterator[Problem]:
    """Of other objects that the deployment names."""
    settings = wanted.settings
    said = [(path, settings[path]) for path in ("deploy.serviceAccountName", "deploy.runtimeClassName")]
    said += [("deploy.imagePullSecrets", name) for name in settings["deploy.imagePullSecrets"]]
    for volume in settings["run.volumes"]:
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        said += [("run.volumes", name) for name in (volume.get("secret"), volume.get("configMap"), claim)]
    for path, name in said:
        if name is not None and not OBJECT.fullmatch(name):
            remedy = "use lower-case letters, digits, '-' and '.'"
            yield Problem("error", at(wanted, path), f"{path}: {name!r} is no name of a Kubernetes object", remedy)


def label_problems(wanted: Wanted) -> Iterator[Problem]:
    for path in ("deploy.labels", "deploy.nodeSelector"):
        for key, value in wanted.settings[path].items():
            yield from _key(wanted, path, key)
            if not _VALUE.fullmatch(value):
                message = f"{path}.{key}: {value!r} can't be the value of a label"
                yield Problem("error", at(wanted, path), message, "use up to 63 letters, digits, '-', '_' and '.'")
    for key in wanted.settings["deploy.labels"]:
        if key in labels_of(wanted.name, "x") or _of_knative(key):
            message = f"deploy.labels sets {key!r}, which has its meaning for Upon or Knative"
            yield Problem("error", at(wanted, "deploy.labels"), message, "choose another key")


def toleration_problems(wanted: Wanted) -> Iterator[Problem]:
    path = "deploy.tolerations"
    for one in wanted.settings[path]:
        if one.get("operator") == "Exists" and one.get("value"):
            message = f"{path}: operator Exists, and the value {one['value']!r}"
            yield Problem("error", at(wanted, path), message, "remove the value, or say Equal")
        elif one.get("operator") != "Exists" and not one.get("key"):
            yield Problem("error", at(wanted, path), f"{path}: a taint without a key", "name it, or say Exists")


def annotation_problems(wanted: Wanted) -> Iterator[Problem]:
    """Knative looks into its own, and refuses what it does not know there."""
    path = "deploy.annotations"
    annotations: Mapping[str, str] = wanted.settings[path]
    for key, value in annotations.items():
        yield from _key(wanted, path, key)
        if not _of_knative(key):
            continue
        if not _SIDECAR.fullmatch(key):
            message = f"{path} sets {key!r}, which is Knative's"
            yield Problem("error", at(wanted, path), message, "say it in deploy.scale, or leave it out")
        elif not re.fullmatch(_QUANTITY, value):
            message = f"{path}.{key}: {value!r} is no quantity"
            yield Problem("error", at(wanted, path), message, "write one such as 100m or 64Mi")


def _of_knative(key: str) -> bool:
    domain = key.rpartition("/")[0]
    return domain == "knative.dev" or domain.endswith(".knative.dev")


def _key(wanted: Wanted, path: str, key: str) -> Iterator[Problem]:
    domain, slash, local = key.rpartition("/")
    if not _LOCAL.fullmatch(local) or (slash and not OBJECT.fullmatch(domain)):
        remedy = "write it as example.com/name, or name"
        yield Problem("error", at(wanted, path), f"{path}: {key!r} is no key of Kubernetes", remedy)
