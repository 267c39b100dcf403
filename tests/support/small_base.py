"""A base image of a few bytes, in memory: what `func build` looks at in one, without a file system that would start."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upon_build.image.oci import CONFIG, INDEX, LAYER, MANIFEST, Descriptor, canonical, describe, digest_of
from upon_build.image.store import Store

PYTHON = ("usr/bin/python3.11", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
PATH = "/usr/local/bin:/usr/bin:/bin"


def layer_bytes(*paths: str) -> bytes:
    """A layer with these empty files; `a -> b` is a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path in paths:
            name, _, target = path.partition(" -> ")
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = (tarfile.SYMTYPE, target) if target else (tarfile.REGTYPE, "")
            archive.addfile(entry)
    return gzip.compress(out.getvalue(), 1, mtime=0)


@dataclass
class SmallRegistry:
    """What one repository has. asked: every tag and digest that was looked up, blobs included."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def resolve(self, reference_or_digest: str) -> tuple[Descriptor, bytes]:
        self.asked.append(reference_or_digest)
        digest = self.tags.get(reference_or_digest, reference_or_digest)
        content = self.blobs[digest]
        return Descriptor(self.types[digest], digest, len(content)), content

    def fetch(self, descriptor: Descriptor, store: Store) -> Path:
        self.asked.append(descriptor.digest)
        found = store.find(store.add(self.blobs[descriptor.digest]))
        assert found is not None
        return found

    def add(self, content: bytes, media_type: str = "") -> str:
        digest = digest_of(content)
        self.blobs[digest], self.types[digest] = content, media_type
        return digest

    def add_image(
        self,
        *layers: bytes,
        tag: str = "",
        platform: str = "linux/amd64",
        config: Mapping[str, Any] = {},
        history: Sequence[Mapping[str, Any]] = (),
        media: tuple[str, str, str] = (MANIFEST, CONFIG, LAYER),
        **more: Any,
    ) -> str:
        """An image of these layers (PYTHON in one, by default); config: its settings, such as Env. Its digest."""
        layers = layers or (layer_bytes(*PYTHON),)
        system, architecture, *variant = platform.split("/")
        value = {
            "os": system,
            "architecture": architecture,
            **({"variant": variant[0]} if variant else {}),
            "config": {"Env": [f"PATH={PATH}"], **config},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(gzip.decompress(layer)) for layer in layers]},
            "history": list(history),
            **more,
        }
        content = canonical(value)
        self.add(content)
        manifest = {
            "schemaVersion": 2,
            "mediaType": media[0],
            "config": describe(content, media[1]).as_dict(),
            "layers": [Descriptor(media[2], self.add(layer), len(layer)).as_dict() for layer in layers],
        }
        return self._tagged(self.add(canonical(manifest), media[0]), tag)

    def add_index(self, *digests: tuple[str, Mapping[str, str]], tag: str = "", media: str = INDEX) -> str:
        entries = [
            Descriptor(MANIFEST, digest, len(self.blobs[digest]), platform=platform).as_dict()
            for digest, platform in digests
        ]
        return self._tagged(
            self.add(canonical({"schemaVersion": 2, "mediaType": media, "manifests": entries}), media), tag
        )

    def _tagged(self, digest: str, tag: str) -> str:
        if tag:
            self.tags[tag] = digest
        return digest
