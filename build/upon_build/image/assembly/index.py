"""The index of an image for several platforms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from upon_build.image.oci import INDEX, Descriptor, Image, canonical, describe
from upon_build.image.platforms import as_mapping


def make_index(images: Sequence[Image], *, annotations: Mapping[str, str] = {}) -> tuple[Descriptor, bytes]:
    """The index's descriptor and bytes, the same whatever the order of the images."""
    entries = [
        replace(image.descriptor, platform=as_mapping(image.platform)).as_dict()
        for image in sorted(images, key=lambda image: image.platform)
    ]
    value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    content = canonical({**value, "annotations": dict(annotations)} if annotations else value)
    return describe(content, INDEX), content
