"""A base for kustomize: one file for each object, and the list of them with the image to override."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from upon_build.cluster.objects.text import document

LIST = "kustomization.yaml"


def kustomization(objects: Sequence[Mapping[str, Any]], image: str, namespace: str) -> dict[str, str]:
    """Text by file name. image: `repository@sha256:…`, or with a tag."""
    files = {file_name(one): document(one) for one in objects}
    name, digest, value = _split(image)
    overridden = {"name": name, "newName": name, ("digest" if digest else "newTag"): value}
    listed = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": list(files),
        "images": [overridden],
    }
    return {LIST: document(listed), **files}


def file_name(thing: Mapping[str, Any]) -> str:
    """`service-reviews.yaml`"""
    return f"{str(thing['kind']).lower()}-{thing['metadata']['name']}.yaml"


def _split(image: str) -> tuple[str, bool, str]:
    """(name, whether by digest, digest or tag)"""
    name, at, digest = image.partition("@")
    if at:
        return name, True, digest
    head, colon, tag = name.rpartition(":")
    return (head, False, tag) if colon and "/" not in tag else (name, False, "latest")
