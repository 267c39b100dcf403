"""Where cosign keeps signatures and attestations of an image: layers of an image under a tag made of its digest.

https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from upon_build.image.documents.attach import Retry, Target, put_blob
from upon_build.image.oci import CONFIG, MANIFEST, Descriptor, canonical, describe
from upon_build.registry.errors import NotFound, RegistryError

if TYPE_CHECKING:
    from upon_build.image.store import Store

NO_TIME = "0001-01-01T00:00:00Z"  # what cosign writes
MAX_PAYLOAD = 64 * 2**20
MAX_ENTRIES = 1000


class Readable(Target, Protocol):
    """A repository whose blobs can be fetched too."""

    def fetch(self, descriptor: Descriptor, store: Store) -> Path: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A signature or attestation: its layer's descriptor, whose annotations count, and what it holds, once known."""

    descriptor: Descriptor
    content: bytes | None = None


def read_entries(repository: Target, tag: str) -> list[Entry]:
    """What lies under the tag; nothing where there is no such tag. Raises RegistryError for another kind of image."""
    try:
        _, content = repository.resolve(tag)
    except NotFound:
        return []
    try:
        return [_entry(layer) for layer in json.loads(content)["layers"]][:MAX_ENTRIES]
    except (ValueError, LookupError, TypeError):
        name = repository.reference.name
        raise RegistryError(f"{name}:{tag} holds no signatures: delete that tag, and sign again") from None


def read_content(repository: Readable, entry: Entry) -> bytes:
    """A layer's bytes, at most 64 MiB."""
    from upon_build.image.store import Store

    if entry.descriptor.size > MAX_PAYLOAD:
        size = entry.descriptor.size
        raise RegistryError(f"a signature of {repository.reference.name} has {size} bytes: {MAX_PAYLOAD} are the most")
    with tempfile.TemporaryDirectory(prefix="upon-") as folder:
        return repository.fetch(entry.descriptor, Store(Path(folder))).read_bytes()


def append(
    repository: Target, tag: str, fresh: Entry, is_there: Callable[[Entry], bool], retry: Retry | None = None
) -> bool:
    """Add an entry to those under the tag, which all stay; whether one was added.

    is_there: knows an entry that says the same.
    What was written is read again after a moment: another writer may not have seen it.
    """
    retry = retry or Retry()
    for attempt in range(retry.tries + 1):
        entries = read_entries(repository, tag)
        if any(is_there(entry) for entry in entries):
            return attempt > 0
        if attempt < retry.tries:
            _put(repository, tag, [*entries, fresh], fresh)
            retry.wait(attempt)
    raise RegistryError(f"the tag {tag!r} of {repository.reference.name} changes all the time: run it again later")


def _put(repository: Target, tag: str, entries: Sequence[Entry], fresh: Entry) -> None:
    if fresh.content is not None:
        put_blob(repository, fresh.descriptor, fresh.content)
    config = canonical(_config([entry.descriptor.digest for entry in entries]))
    described = describe(config, CONFIG)
    put_blob(repository, described, config)
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described.as_dict(),
        "layers": [entry.descriptor.as_dict() for entry in entries],
    }
    content = canonical(value)
    repository.put_manifest(describe(content, MANIFEST), content, tag)


def _config(diff_ids: Sequence[str]) -> dict[str, Any]:
    """The layers are no tar files, but readers of images want a configuration that fits them."""
    return {
        "architecture": "",
        "os": "",
        "created": NO_TIME,
        "config": {},
        "history": [{"created": NO_TIME} for _ in diff_ids],
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
    }


def _entry(layer: Mapping[str, Any]) -> Entry:
    annotations = {str(name): str(value) for name, value in (layer.get("annotations") or {}).items()}
    return Entry(Descriptor(str(layer["mediaType"]), str(layer["digest"]), int(layer["size"]), annotations))
