"""A Helm chart: the same objects, with the image, the namespace and the number of pods left to whoever installs it.

The objects are made for a namespace and an image that stand for the release's, so that wherever one of them is part of
something else (a URL, UPON_CONFIG) the placeholder stands there as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from upon_build.cluster.exports.kustomize import file_name
from upon_build.cluster.objects.scaling import PREFIX
from upon_build.cluster.objects.text import Verbatim, document, quoted

NAMESPACE = "upon-release-namespace"  # stands for `.Release.Namespace`
IMAGE = "upon.invalid/image"  # stands for `.Values.image`
VERSION = "0.1.0"  # of the chart; the image's digest says which program it is

_BRACES = '{{ "{{" }}'
_PLACES = {NAMESPACE: "{{ .Release.Namespace }}", IMAGE: "{{ .Values.image }}"}


def chart(objects: Sequence[Mapping[str, Any]], name: str, image: str) -> dict[str, str]:
    """Text by file name. objects: made for NAMESPACE and IMAGE; image: the value that stands in values.yaml."""
    values: dict[str, Any] = {"image": image}
    templates = {}
    for thing in objects:
        made = deepcopy(dict(thing))
        values |= _scaled(made)
        templates[f"templates/{file_name(thing)}"] = document(_templated(made))
    about = {
        "apiVersion": "v2",
        "name": name,
        "description": f"The functions of {name}, and what feeds them.",
        "type": "application",
        "version": VERSION,
    }
    return {"Chart.yaml": document(about), "values.yaml": document(values), **templates}


def _scaled(thing: dict[str, Any]) -> dict[str, Any]:
    """Put placeholders where the numbers of pods stand; what they were, for values.yaml."""
    if thing["kind"] == "Deployment":
        replicas = thing["spec"]["replicas"]
        thing["spec"]["replicas"] = Verbatim("{{ .Values.triggers.replicas }}")
        return {"triggers": {"replicas": replicas}}
    annotations = thing["spec"]["template"]["metadata"]["annotations"] if _is_service(thing) else {}
    found = {}
    for key in ("min", "max"):
        at = f"{PREFIX}{key}-scale"
        if _is_service(thing):
            found[key] = int(annotations.get(at, 0))
            annotations[at] = Verbatim(f"{{{{ .Values.scale.{key} | quote }}}}")
    return {"scale": found} if found else {}


def _is_service(thing: Mapping[str, Any]) -> bool:
    return thing["kind"] == "Service" and str(thing["apiVersion"]).startswith("serving.knative.dev/")


def _templated(value: Any) -> Any:
    """Braces of our own become text for Helm, and what stands for a value its placeholder."""
    if isinstance(value, Mapping):
        return {key: _templated(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_templated(part) for part in value]
    if not isinstance(value, str) or isinstance(value, Verbatim):
        return value
    return _text(value)


def _text(value: str) -> str:
    if "{{" not in value and not any(mark in value for mark in _PLACES):
        return value
    text = quoted(value).replace("{{", _BRACES)
    for mark, place in _PLACES.items():
        text = text.replace(mark, place)
    return Verbatim(text)
