"""The image below ours: a preset or a reference, held to one digest for each platform."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from upon import UponError
from upon_build.image.oci import DOCKER_LIST, INDEX, LAYER, Descriptor, Layer
from upon_build.image.platforms import platform_of
from upon_build.image.store import Store
from upon_build.project.problems import ProjectError, fail
from upon_build.registry.reference import DEFAULT_TAG, Reference, parse_reference

PRESETS = ("cpu", "gpu")
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
PLAIN = "application/vnd.oci.image.layer.v1.tar"
_LAYERS = {
    LAYER: LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER,
    ZSTD: ZSTD,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": ZSTD,
    PLAIN: PLAIN,
    "application/vnd.docker.image.rootfs.diff.tar": PLAIN,
}
_CONFIG_SIZE = 8 * 2**20  # bytes


class Source(Protocol):
    """What a base needs of its repository."""

    def resolve(self, reference_or_digest: str) -> tuple[Descriptor, bytes]: ...
    def fetch(self, descriptor: Descriptor, store: Store) -> Path: ...


@dataclass(frozen=True, slots=True)
class Base:
    """The base of one platform.

    name: as it was asked for, without a digest; digest: of this platform's manifest; config: its image configuration.
    """

    name: str
    digest: str
    platform: str
    config: Mapping[str, Any]
    layers: tuple[Layer, ...]

    @property
    def env(self) -> dict[str, str]:
        """Its environment variables."""
        pairs = ((self.config.get("config") or {}).get("Env")) or []
        split = (str(pair).partition("=") for pair in pairs)
        return {name: value for name, _, value in split}


def base_reference(wanted: str, python: str) -> str:
    """What a preset or a reference stands for. python: X.Y of the image."""
    return f"docker.io/library/python:{python}-slim" if wanted in PRESETS else wanted


class Bases:
    """Finds bases, each repository asked once.

    connect: gives the repository of a reference; called only when something is not in the store. where: what to call
    the place that named the base, in errors.
    """

    def __init__(self, store: Store, connect: Callable[[Reference], Source], where: str = "func.yaml") -> None:
        self._store = store
        self._connect = connect
        self._where = where
        self._tops: dict[str, tuple[str, bytes]] = {}
        self._sources: dict[str, Source] = {}

    def find(self, name: str, platform: str, digest: str | None = None) -> Base:
        """The base of this platform. digest: of its manifest, where a lock holds it: then its tag is not asked.

        Raises ProjectError where the reference holds no such image, and RegistryError.
        """
        reference = parse_reference(name)
        try:
            return self._find(reference, platform, digest)
        except UponError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            message = f"what the registry has of the base {_shown(reference)} is no image: {error}"
            raise self._fail(message, "push it again with a current tool, or choose another base") from None

    def _find(self, reference: Reference, platform: str, digest: str | None) -> Base:
        if digest is None:
            digest, content = self._top(reference)
            if _is_index(content):
                digest = self._choose(reference, content, platform)
                content = self._manifest(reference, digest)
        else:
            content = self._manifest(reference, digest)
        return self._base(reference, digest, content, platform)

    def fetch(self, layer: Layer) -> Path:
        """The blob of a base's layer, from the store or its registry."""
        found = self._store.find(layer.descriptor.digest)
        if found is not None:
            return found
        if layer.source is None:
            raise fail("the layer cache", f"the blob of {layer.title!r} is gone", "run the command again")
        return self._source(parse_reference(f"{layer.source}@{layer.descriptor.digest}")).fetch(
            layer.descriptor, self._store
        )

    def _top(self, reference: Reference) -> tuple[str, bytes]:
        """What the reference itself names: an index or a manifest."""
        key = str(reference)
        if key not in self._tops:
            if reference.digest:
                self._tops[key] = reference.digest, self._manifest(reference, reference.digest)
            else:
                found, content = self._source(reference).resolve(reference.wanted)
                self._store.add(content)
                self._tops[key] = found.digest, content
        return self._tops[key]

    def _manifest(self, reference: Reference, digest: str) -> bytes:
        path = self._store.find(digest)
        if path is not None:
            return path.read_bytes()
        _, content = self._source(reference).resolve(digest)
        self._store.add(content)
        return content

    def _source(self, reference: Reference) -> Source:
        key = reference.name
        if key not in self._sources:
            self._sources[key] = self._connect(reference)
        return self._sources[key]

    def _choose(self, reference: Reference, content: bytes, platform: str) -> str:
        entries = [entry for entry in _mapping(content).get("manifests") or [] if entry.get("platform")]
        there = {platform_of(entry["platform"]): str(entry["digest"]) for entry in reversed(entries)}
        if platform not in there:
            known = ", ".join(sorted(one for one in there if not one.startswith("unknown"))) or "nothing"
            message = f"the base {_shown(reference)} has no image for {platform}: it has {known}"
            raise self._fail(message, "choose another base, or other build.platforms")
        return there[platform]

    def _base(self, reference: Reference, digest: str, content: bytes, platform: str) -> Base:
        manifest = _mapping(content)
        shown = _shown(reference)
        if not isinstance(manifest.get("config"), Mapping) or not isinstance(manifest.get("layers"), list):
            message = f"the base {shown} is no image of schema version 2"
            raise self._fail(message, "push it again with a current tool, or choose another base")
        config = self._config(reference, manifest["config"])
        own = platform_of(config)
        if own != platform:
            message = f"the base {shown} is an image for {own}, not for {platform}"
            raise self._fail(message, "choose another base, or other build.platforms")
        return Base(shown, digest, platform, config, self._layers(reference, manifest["layers"], config))

    def _config(self, reference: Reference, described: Mapping[str, Any]) -> Mapping[str, Any]:
        size = int(described["size"])
        if size > _CONFIG_SIZE:
            raise self._fail(f"the configuration of {_shown(reference)} has {size} bytes", "choose another base")
        descriptor = Descriptor(str(described["mediaType"]), str(described["digest"]), size)
        path = self._store.find(descriptor.digest) or self._source(reference).fetch(descriptor, self._store)
        return _mapping(path.read_bytes())

    def _layers(self, reference: Reference, listed: list[Any], config: Mapping[str, Any]) -> tuple[Layer, ...]:
        diff_ids = (config.get("rootfs") or {}).get("diff_ids") or []
        if len(diff_ids) != len(listed):
            message = (
                f"the configuration of {_shown(reference)} names {len(diff_ids)} layers, its manifest {len(listed)}"
            )
            raise self._fail(message, "push it again with a current tool, or choose another base")
        source = reference.name
        layers = []
        for number, (entry, diff_id) in enumerate(zip(listed, diff_ids, strict=True), 1):
            media = _LAYERS.get(str(entry["mediaType"]))
            if media is None:
                message = f"layer {number} of {_shown(reference)} is of the media type {entry['mediaType']!r}"
                raise self._fail(message, "choose a base whose layers are tar files, plain or compressed")
            descriptor = Descriptor(media, str(entry["digest"]), int(entry["size"]))
            layers.append(Layer(descriptor, str(diff_id), 0, f"base {number} of {len(listed)}", source))
        return tuple(layers)

    def _fail(self, message: str, remedy: str) -> ProjectError:
        return fail(self._where, message, remedy)


def _shown(reference: Reference) -> str:
    """As it was asked for, without a digest: that one is told apart."""
    tag = reference.tag or (None if reference.digest else DEFAULT_TAG)
    return f"{reference.name}:{tag}" if tag else reference.name


def _is_index(content: bytes) -> bool:
    value = _mapping(content)
    return value.get("mediaType") in (INDEX, DOCKER_LIST) or "manifests" in value


def _mapping(content: bytes) -> Mapping[str, Any]:
    value = json.loads(content)
    if not isinstance(value, Mapping):
        raise TypeError("no JSON object")
    return value
