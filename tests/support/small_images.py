"""Small images made of given entries, each in a store of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from upon_build.image.layers.layer import make_layer
from upon_build.image.layers.tar import Entry
from upon_build.image.oci import CONFIG, MANIFEST, Image, Layer, canonical, describe
from upon_build.image.store import Store


def file(path: str, content: bytes = b"x", mode: int = 0o644) -> Entry:
    return Entry(path, mode, "file", len(content), lambda: BytesIO(content))


def link(path: str, target: str) -> Entry:
    return Entry(path, 0o777, "link", target=target)


class Maker:
    """Images in a store of their own."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self._made = 0

    def layer(self, *entries: Entry, title: str = "function code", level: int = 2, mtime: int = 0) -> Layer:
        self._made += 1
        return make_layer(
            self.store, str(self._made), lambda: iter(entries), title=title, kind="code", level=level, mtime=mtime
        )

    def image(self, *layers: Layer, config: Mapping[str, Any] = {}, annotations: Mapping[str, str] = {}) -> Image:
        rootfs = {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}
        content = canonical({"os": "linux", "architecture": "amd64", "rootfs": rootfs, **config})
        manifest = canonical(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": describe(content, CONFIG).as_dict(),
                "layers": [layer.descriptor.as_dict() for layer in layers],
                "annotations": dict(annotations),
            }
        )
        return Image(describe(manifest, MANIFEST), manifest, content, describe(content, CONFIG), layers, "linux/amd64")

    def of(self, entries: Iterable[Entry]) -> Image:
        return self.image(self.layer(*entries))
