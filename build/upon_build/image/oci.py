"""The nouns of the OCI image specification, as plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a blob or manifest is, without its bytes. digest: `sha256:` and 64 hexadecimal digits; size: bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] | None = None
    artifact_type: str | None = None

    def as_dict(self) -> dict[str, Any]:
        said: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            said["annotations"] = dict(self.annotations)
        if self.platform is not None:
            said["platform"] = dict(self.platform)
        if self.artifact_type is not None:
            said["artifactType"] = self.artifact_type
        return said


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of an image. diff_id: the digest of its tar; size: the tar's bytes; title: what it holds, for people.

    source: the registry and repository (`docker.io/library/python`) that has its blob where it is not in the store: a
    base's layer is mounted from there, or fetched when it has to be moved.
    """

    descriptor: Descriptor
    diff_id: str
    size: int
    title: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """An image of one platform (`linux/amd64`), or any other artifact with a manifest.

    content: the manifest's bytes, which `descriptor` names; config: its configuration's bytes.
    """

    descriptor: Descriptor
    content: bytes
    config: bytes
    config_descriptor: Descriptor
    layers: tuple[Layer, ...]
    platform: str = ""


def canonical(value: Any) -> bytes:
    """JSON whose bytes depend on nothing but the value."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def describe(content: bytes, media_type: str, **more: Any) -> Descriptor:
    """The descriptor of these bytes."""
    return Descriptor(media_type, digest_of(content), len(content), **more)
