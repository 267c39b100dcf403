"""A whole image to a repository: what is missing there, several blobs at once, the manifest last."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from upon_build.image.oci import Descriptor, Image
from upon_build.registry.client import Repository
from upon_build.registry.errors import Interrupted, NotFound, RegistryError
from upon_build.registry.reference import Reference, parse_reference
from upon_build.registry.upload import Sent

if TYPE_CHECKING:
    from upon_build.image.store import Store

AT_ONCE = 4  # blobs
PATIENCE = 3.0  # seconds that the others have to end after one failed; a registry may be silent for longer


@dataclass(frozen=True, slots=True)
class Pushed:
    """bytes: really sent, of blobs, configurations and manifests; blobs: sent; mounted: taken over in the registry.

    sent: the digests of the blobs that were sent.
    """

    bytes: int = 0
    blobs: int = 0
    mounted: int = 0
    sent: frozenset[str] = frozenset()

    def __add__(self, other: Pushed) -> Pushed:
        both = self.bytes + other.bytes, self.blobs + other.blobs, self.mounted + other.mounted
        return Pushed(*both, self.sent | other.sent)


@dataclass(frozen=True, slots=True)
class Blob:
    """What has to be there. source: where it is to be had if the store has it not."""

    descriptor: Descriptor
    source: str | None = None


def push_image(image: Image, store: Store, repository: Repository, tag: str | None = None) -> Pushed:
    """Make the image available under the tag, or by its digest alone. Nothing is visible before all of it is there."""
    repository.push_begins()
    pushed = push_blobs(_blobs_of([image], store), store, repository)
    if pushed == Pushed() and _is_there(repository, tag, image.descriptor):
        return pushed
    repository.put_manifest(image.descriptor, image.content, tag)
    return pushed + Pushed(len(image.content))


def push_index(
    index: Descriptor,
    content: bytes,
    images: Sequence[Image],
    store: Store,
    repository: Repository,
    tag: str | None = None,
) -> Pushed:
    """The same for images of several platforms and the index that names them; the index comes last."""
    repository.push_begins()
    pushed = push_blobs(_blobs_of(images, store), store, repository)
    if pushed == Pushed() and _is_there(repository, tag, index):
        return pushed
    for image in images:
        repository.put_manifest(image.descriptor, image.content)
        pushed += Pushed(len(image.content))
    repository.put_manifest(index, content, tag)
    return pushed + Pushed(len(content))


def _is_there(repository: Repository, tag: str | None, manifest: Descriptor) -> bool:
    """Whether the tag, or the digest alone, names it already."""
    try:
        return repository.resolve(tag or manifest.digest)[0].digest == manifest.digest
    except NotFound:
        return False


def _blobs_of(images: Sequence[Image], store: Store) -> list[Blob]:
    """Each blob once, the largest first, so that the last one to end is small."""
    found: dict[str, Blob] = {}
    for image in images:
        store.add(image.config)
        for blob in (Blob(image.config_descriptor), *(Blob(one.descriptor, one.source) for one in image.layers)):
            found.setdefault(blob.descriptor.digest, blob)
    return sorted(found.values(), key=lambda blob: -blob.descriptor.size)


def push_blobs(blobs: Sequence[Blob], store: Store, repository: Repository) -> Pushed:
    """Bring the blobs there, some at once; the first failure stops the others and is raised."""
    stop = threading.Event()
    sources = Sources(repository)
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="upon-push")
    futures = [pool.submit(_push_blob, blob, store, repository, sources, stop) for blob in blobs]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:
        stop.set()  # after an error or ctrl-C; nobody looks at it otherwise
        pool.shutdown(wait=False, cancel_futures=True)
    ended = wait(futures, timeout=PATIENCE).done
    sources.close()
    _raise_first(ended)
    done = [future.result() for future in futures]
    sent = frozenset(blob.descriptor.digest for blob, one in zip(blobs, done, strict=True) if one.bytes > 0)
    return Pushed(sum(one.bytes for one in done), len(sent), sum(one.mounted for one in done), sent)


def _raise_first(futures: Iterable[Future[Sent]]) -> None:
    """What went wrong, not what stopped because of it."""
    errors = [error for future in futures if not future.cancelled() and (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, Interrupted)):
        raise error


def _push_blob(blob: Blob, store: Store, repository: Repository, sources: Sources, stop: threading.Event) -> Sent:
    digest = blob.descriptor.digest
    if repository.has(digest):
        return Sent(0)
    path = store.find(digest, blob.descriptor.size)
    near = sources.near(blob.source)
    if path is None:
        if near is not None and repository.mount(digest, near):
            return Sent(0, mounted=True)
        path, near = sources.fetch(blob, store, stop), None
    return repository.place(blob.descriptor, path, near, stop=stop)


class Sources:
    """The repositories where a base's layers are, opened once each."""

    def __init__(self, target: Repository) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._opened: dict[str, Repository] = {}

    def near(self, source: str | None) -> str | None:
        """The source's repository if it is in the same registry, so that blobs can be mounted from it."""
        found = parse_reference(source) if source else None
        same = found is not None and found.registry == self._target.reference.registry
        return found.repository if found is not None and same else None

    def fetch(self, blob: Blob, store: Store, stop: threading.Event) -> Path:
        if blob.source is None:
            raise RegistryError(
                f"{blob.descriptor.digest} is not in the cache any more: build again (`func cache prune` may have run)"
            )
        return self._open(parse_reference(blob.source)).fetch(blob.descriptor, store, stop=stop)

    def _open(self, reference: Reference) -> Repository:
        with self._lock:
            if reference.name not in self._opened:
                self._opened[reference.name] = self._target.sibling(replace(reference, tag=None, digest=None))
            return self._opened[reference.name]

    def close(self) -> None:
        for repository in self._opened.values():
            repository.close()
