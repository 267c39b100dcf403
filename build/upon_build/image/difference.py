"""Why two images are not the same: down to the first path of a layer that differs."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upon import UponError
from upon_build.image.assembly.inspect import opened
from upon_build.image.oci import Image, Layer

if TYPE_CHECKING:
    from upon_build.image.store import Store

KIND, TITLE = "dev.upon.layer", "org.opencontainers.image.title"
DERIVED = ("rootfs", "history", "config.digest", "config.size", "layers")  # follow from other differences
LINK = tarfile.SYMTYPE.decode()
LONGEST = 100  # characters of a value that is shown
ANOTHER_COMPRESSOR = "the same files, compressed otherwise: by another version of isal, or on another kind of processor"


@dataclass(frozen=True, slots=True)
class Side:
    """One of two images. name: what to call it, such as `the registry's`; blob: gives a layer's file."""

    name: str
    image: Image
    blob: Callable[[Layer], Path]


@dataclass(frozen=True, slots=True)
class Member:
    """What a layer says of one path. content: sha256 of a file, or a link's target."""

    kind: str
    mode: str
    owner: str
    time: str
    size: int
    content: str


def explain_difference(store_a: Store, image_a: Image, store_b: Store, image_b: Image) -> list[str]:
    """The differences of two images whose blobs lie in these stores; none for equal digests."""
    return explain(Side("the first", image_a, _in(store_a)), Side("the second", image_b, _in(store_b)))


def explain(one: Side, other: Side) -> list[str]:
    """One line for each part that differs: layers, then configuration, then manifest."""
    if one.image.descriptor.digest == other.image.descriptor.digest:
        return []
    found = list(_layers(one, other))
    for derived in (DERIVED, ()):
        found += _values("configuration", *_parsed(one, other, "config"), derived)
        found = found or list(_values("manifest", *_parsed(one, other, "content"), derived))
        if found:
            return found
    return ["the manifests differ in their bytes alone, not in what they say"]


def _in(store: Store) -> Callable[[Layer], Path]:
    def blob(layer: Layer) -> Path:
        path = store.find(layer.descriptor.digest)
        if path is None:
            raise UponError(f"the blob {layer.descriptor.digest} of {layer.title!r} is not in the cache: build again")
        return path

    return blob


def _layers(one: Side, other: Side) -> Iterator[str]:
    ours, theirs = _named(one.image), _named(other.image)
    for key in dict.fromkeys([*ours, *theirs]):
        if key not in theirs or key not in ours:
            yield f"layer {key}: only in {(one if key in ours else other).name} image"
        elif ours[key].diff_id != theirs[key].diff_id:
            yield f"layer {key}: {_first_path(one, ours[key], other, theirs[key])}"
        elif ours[key].descriptor.digest != theirs[key].descriptor.digest:
            yield f"layer {key}: {ANOTHER_COMPRESSOR}"
    if list(ours) != list(theirs) and set(ours) == set(theirs):
        yield "the layers are in another order"


def _named(image: Image) -> dict[str, Layer]:
    """Layers by kind and title; those of a base, which have neither, by their number."""
    found: dict[str, Layer] = {}
    for number, layer in enumerate(image.layers, 1):
        said = layer.descriptor.annotations
        name = f"{said.get(TITLE, '')!r} ({said[KIND]})" if KIND in said else f"{number} of the base"
        found[name if name not in found else f"{name}, number {number}"] = layer
    return found


def _first_path(one: Side, a: Layer, other: Side, b: Layer) -> str:
    ours, theirs = members(one.blob(a)), members(other.blob(b))
    differing = [path for path in dict.fromkeys([*ours, *theirs]) if ours.get(path) != theirs.get(path)]
    if not differing:
        return "the same entries in another order, or with other headers"
    path = differing[0]
    more = f" (and {len(differing) - 1} more paths differ)" if len(differing) > 1 else ""
    if path not in theirs or path not in ours:
        return f"{path!r} is only in {(one if path in ours else other).name} image{more}"
    return f"{path!r} has {_what(ours[path], theirs[path])}{more}"


def members(blob: Path) -> dict[str, Member]:
    """What a layer holds, by path, in its order; contents are hashed as they stream by."""
    found: dict[str, Member] = {}
    with opened(blob) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for entry in archive:
            file = archive.extractfile(entry) if entry.isfile() else None
            content = hashlib.file_digest(file, "sha256").hexdigest() if file else entry.linkname  # type: ignore[arg-type]
            owner = f"{entry.uid}:{entry.gid} {entry.uname}:{entry.gname}"
            kind = entry.type.decode("ascii", "replace")
            found[entry.name] = Member(kind, f"{entry.mode:04o}", owner, str(entry.mtime), entry.size, content)
            archive.members = []  # type: ignore[attr-defined]  # it would keep every header
    return found


def _what(a: Member, b: Member) -> str:
    if a.kind != b.kind:
        return f"another type of file ({a.kind!r} and {b.kind!r})"
    if a.kind == LINK and a.content != b.content:
        return f"another target ({a.content!r} and {b.content!r})"
    if (a.size, a.content) != (b.size, b.content):
        sizes = f"{a.size} bytes and {b.size}" if a.size != b.size else f"{a.size} bytes in both"
        return f"another content ({sizes})"
    said = {"mode": (a.mode, b.mode), "owner": (a.owner, b.owner), "time": (a.time, b.time)}
    name, (first, second) = next((name, values) for name, values in said.items() if values[0] != values[1])
    return f"another {name} ({first} and {second})"


def _parsed(one: Side, other: Side, part: str) -> tuple[Any, Any]:
    return json.loads(getattr(one.image, part)), json.loads(getattr(other.image, part))


def _values(path: str, a: Any, b: Any, left_out: tuple[str, ...]) -> Iterator[str]:
    """The innermost values that differ."""
    if a == b or path.partition(".")[2] in left_out:
        return
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted({*a, *b}):
            yield from _values(f"{path}.{key}", a.get(key), b.get(key), left_out)
    elif isinstance(a, list) and isinstance(b, list):
        only_a, only_b = [each for each in a if each not in b], [each for each in b if each not in a]
        yield f"{path}: {_shown(only_a)} and {_shown(only_b)}" if only_a or only_b else f"{path}: another order"
    else:
        yield f"{path}: {_shown(a)} and {_shown(b)}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
