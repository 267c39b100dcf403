"""Entries become a layer in one pass: tar, its digest, gzip, the blob's digest, the file, with a bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from upon_build.image.layers.compress import CHUNK, LEVEL, Gzip, name_and_version
from upon_build.image.layers.tar import BLOCK, Entry, write_tar
from upon_build.image.oci import LAYER, Descriptor, Layer
from upon_build.image.sizes import show_size
from upon_build.project.problems import ProjectError, fail

if TYPE_CHECKING:
    from upon_build.image.store import Store
    from upon_build.image.writing import Writing

KIND = "dev.upon.layer"
TITLE = "org.opencontainers.image.title"
_VERSION = 1  # of the bytes that this module makes of the same entries


def make_layer(
    store: Store,
    key: str,
    entries: Callable[[], Iterable[Entry]],
    *,
    title: str,
    kind: str,
    level: int = LEVEL,
    max_size: int | None = None,
    where: str = "",
    mtime: int = 0,
) -> Layer:
    """The layer of these entries, from the store where it was made before under the same key.

    key: says all that the entries depend on; level: of compression, 0 to 3; max_size: of the tar, in bytes; where: what
    to call the layer in errors, its title by default; mtime: of everything in it, in seconds since 1970.
    Raises ProjectError over max_size, OSError with the file's name for a full disk, MissingExtra.
    """
    full_key = f"layer v{_VERSION}, {name_and_version()}, level {level}, mtime {mtime}: {key}"
    known = store.recall(full_key)
    if known is None:
        checked = _checked(entries, max_size, title, where)
        known = _make(store, checked, level, mtime)
        store.remember(full_key, known)
    if max_size is not None and known["tar"] > max_size:
        raise _too_large(entries(), max_size, title, where)
    return _layer(known, title, kind)


def _layer(known: Mapping[str, Any], title: str, kind: str) -> Layer:
    annotations = {KIND: kind, TITLE: title}
    descriptor = Descriptor(LAYER, known["digest"], known["size"], annotations)
    return Layer(descriptor, known["diff_id"], known["tar"], title)


def _make(store: Store, entries: Iterable[Entry], level: int, mtime: int) -> dict[str, Any]:
    with store.writing() as writing:
        tar = _Tar(Gzip(level), writing)
        write_tar(entries, tar, mtime)
        diff_id = tar.finish()
        writing.commit()
        return {"digest": writing.digest(), "size": writing.size, "diff_id": diff_id, "tar": tar.size}


class _Tar:
    """What a tar is written to: hashed and compressed in pieces of one size, whatever is written at a time.

    Hashing in a thread beside the compression costs more than it brings: layers are made in parallel already.
    """

    def __init__(self, gzip: Gzip, writing: Writing) -> None:
        self.size = 0
        self._gzip = gzip
        self._writing = writing
        self._hash = hashlib.sha256()
        self._buffer = bytearray()

    def write(self, content: bytes) -> None:
        self._buffer += content
        if len(self._buffer) >= CHUNK:
            whole = len(self._buffer) // CHUNK * CHUNK
            with memoryview(self._buffer) as view:
                for start in range(0, whole, CHUNK):
                    self._push(bytes(view[start : start + CHUNK]))
            del self._buffer[:whole]

    def finish(self) -> str:
        """Write the rest; returns the tar's digest."""
        self._push(bytes(self._buffer))
        self._writing.write(self._gzip.finish())
        return "sha256:" + self._hash.hexdigest()

    def _push(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._hash.update(chunk)
        self._writing.write(self._gzip.compress(chunk))


def _checked(entries: Callable[[], Iterable[Entry]], max_size: int | None, title: str, where: str) -> Iterator[Entry]:
    """The entries, until their content is more than a layer may have: told before it is read."""
    size = 0
    for entry in entries():
        size += entry.size + BLOCK
        if max_size is not None and size > max_size:
            raise _too_large(entries(), max_size, title, where)
        yield entry


def _too_large(entries: Iterable[Entry], max_size: int, title: str, where: str) -> ProjectError:
    size, biggest = 0, None
    for entry in entries:
        size += entry.size
        if biggest is None or entry.size > biggest.size:
            biggest = entry
    shown = f", most of it {biggest.path} with {show_size(biggest.size)}" if biggest else ""
    message = f"the layer {title!r} has {show_size(size)}{shown}, and build.maxLayerSize is {show_size(max_size)}"
    return fail(
        where or title, message, "raise build.maxLayerSize, if the registry takes such a layer, or leave it out"
    )
