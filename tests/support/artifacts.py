"""Images of a few bytes, for whatever moves images about."""

from __future__ import annotations

from upon_build.image.documents.attach import put_blob
from upon_build.image.oci import CONFIG, LAYER, MANIFEST, Descriptor, Image, Layer, canonical, describe, digest_of
from upon_build.image.store import Store
from upon_build.registry.client import Repository


def image_of(store: Store, *contents: bytes, source: str | None = None, keep: bool = True, name: str = "") -> Image:
    """An image with these layers. keep: whether the store has them; source: where they are said to be."""
    layers = tuple(layer_of(store, content, source=source, keep=keep) for content in contents)
    config = canonical({"name": name, "rootfs": [layer.diff_id for layer in layers]})
    config_descriptor = describe(config, CONFIG)
    manifest = canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config_descriptor.as_dict(),
            "layers": [layer.descriptor.as_dict() for layer in layers],
        }
    )
    return Image(describe(manifest, MANIFEST), manifest, config, config_descriptor, layers, "linux/amd64")


def layer_of(store: Store, content: bytes, *, source: str | None = None, keep: bool = True) -> Layer:
    if keep:
        store.add(content)
    return Layer(describe(content, LAYER), digest_of(content), len(content), "a layer", source)


def pushed(repository: Repository) -> Descriptor:
    """A small image, which is there."""
    config = canonical({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}})
    put_blob(repository, describe(config, CONFIG), config)
    value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": describe(config, CONFIG).as_dict(), "layers": []}
    content = canonical({**value, "annotations": {"of": repository.reference.name}})
    repository.put_manifest(describe(content, MANIFEST), content, "1")
    return describe(content, MANIFEST)
