"""Layers and a configuration become an image: the manifest, in an order that keeps what seldom changes below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from upon_build.image.assembly.base import Base
from upon_build.image.assembly.config import base_annotations
from upon_build.image.oci import CONFIG, MANIFEST, Image, Layer, canonical, describe
from upon_build.image.platforms import platform_of
from upon_build.project.problems import fail

KINDS = ("system", "package", "packages", "upon", "model", "code", "manifest")
KIND = "dev.upon.layer"
MAX_LAYERS = 126  # overlay file systems take 127 or 128 at most, and a runtime adds one of its own


def assemble(
    base: Base, layers: Sequence[Layer], config: bytes, *, annotations: Mapping[str, str] = {}, where: str = "func.yaml"
) -> Image:
    """The image of the base's platform. Raises ProjectError for more layers than a runtime can mount."""
    _check_order(layers)
    every = (*base.layers, *layers)
    if len(every) > MAX_LAYERS:
        message = f"the image would have {len(every)} layers, and a container runtime takes {MAX_LAYERS}"
        raise fail(where, message, "keep models that belong together in one folder, or choose a base with fewer layers")
    described = describe(config, CONFIG)
    content = canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described.as_dict(),
            "layers": [layer.descriptor.as_dict() for layer in every],
            "annotations": {**base_annotations(base), **annotations},
        }
    )
    platform = platform_of(base.config)
    return Image(describe(content, MANIFEST), content, config, described, every, platform)


def kind_of(layer: Layer) -> str:
    """What one of our layers holds, such as `model`; `base` for a base's."""
    return str(layer.descriptor.annotations.get(KIND, "base"))


def _check_order(layers: Sequence[Layer]) -> None:
    ranks = [KINDS.index(kind_of(layer)) for layer in layers]
    if ranks != sorted(ranks):
        raise ValueError(f"layers are out of order: {[kind_of(layer) for layer in layers]}")
