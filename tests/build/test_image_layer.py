"""Layers: one pass, the same bytes from the same entries, and nothing kept in memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from upon_build.image.layers import compress
from upon_build.image.layers.layer import make_layer
from upon_build.image.layers.tar import Entry
from upon_build.image.oci import LAYER, Layer
from upon_build.image.store import Store
from upon_build.project.problems import ProjectError

WORDS = b"".join(b"word %d\n" % number for number in range(400_000))  # 4.7 MB, in several pieces


class Slow(io.BytesIO):
    """Never more than 1,000 bytes at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(1000)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def file(path: str, content: bytes, kind: Callable[[bytes], io.BytesIO] = io.BytesIO) -> Entry:
    return Entry(path, 0o644, "file", len(content), lambda: kind(content))


def layer(store: Store, *entries: Entry, key: str = "a key", **more: Any) -> Layer:
    return make_layer(store, key, lambda: entries, **{"title": "demo", "kind": "code", **more})


def unread() -> Iterable[Entry]:
    raise AssertionError("it was made before")


def blob(store: Store, made: Layer) -> bytes:
    path = store.find(made.descriptor.digest, made.descriptor.size)
    assert path is not None
    return path.read_bytes()


def test_what_a_layer_says_of_itself(store: Store) -> None:
    made = layer(store, file("a", WORDS))
    content = blob(store, made)
    tar = gzip.decompress(content)
    assert "sha256:" + hashlib.sha256(content).hexdigest() == made.descriptor.digest
    assert "sha256:" + hashlib.sha256(tar).hexdigest() == made.diff_id
    assert (LAYER, len(content), len(tar)) == (made.descriptor.media_type, made.descriptor.size, made.size)
    assert {"dev.upon.layer": "code", "org.opencontainers.image.title": "demo"} == made.descriptor.annotations
    assert "demo" == made.title


def test_gzip_has_no_name_and_no_time(store: Store) -> None:
    assert bytes.fromhex("1f8b0800000000") == blob(store, layer(store, file("a", WORDS)))[:7]


def test_a_layer_is_made_once(store: Store) -> None:
    made = layer(store, file("a", WORDS))
    again = make_layer(store, "a key", unread, title="demo", kind="code")
    assert made == again


def test_a_layer_that_is_damaged_or_gone_is_made_again(store: Store) -> None:
    made = layer(store, file("a", WORDS))
    path = store.find(made.descriptor.digest)
    assert path is not None
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert made == layer(store, file("a", WORDS))
    assert content == path.read_bytes()


def test_the_key_counts_with_level_and_time(store: Store) -> None:
    made = [layer(store, file("a", WORDS), **more) for more in ({}, {"level": 1}, {"mtime": 1}, {"key": "another"})]
    assert 3 == len({each.descriptor.digest for each in made})
    assert made[0] == made[3]
    assert made[0].diff_id == made[1].diff_id != made[2].diff_id


def test_the_compressor_is_in_the_key(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    layer(store, file("a", WORDS))
    monkeypatch.setattr("upon_build.image.layers.layer.name_and_version", lambda: "isal 99")
    with pytest.raises(AssertionError, match="made before"):
        make_layer(store, "a key", unread, title="demo", kind="code")
    assert compress.name_and_version().startswith("isal 1.")


def test_bytes_do_not_depend_on_how_content_is_read(store: Store) -> None:
    whole, slow = (layer(store, file("a", WORDS, kind), key=str(kind)) for kind in (io.BytesIO, Slow))
    assert whole.descriptor.digest == slow.descriptor.digest


def test_a_layer_without_entries(store: Store) -> None:
    assert 1024 == layer(store).size


def test_a_layer_that_is_too_large_names_its_biggest_file(store: Store) -> None:
    entries = [file("app/small", b"s"), file("app/big", WORDS), file("app/other", b"o" * 1000)]
    message = (
        "func.yaml: the layer 'demo' has 4.47Mi, most of it app/big with 4.47Mi, and build.maxLayerSize is 2Mi: "
        "raise build.maxLayerSize, if the registry takes such a layer, or leave it out"
    )
    with pytest.raises(ProjectError) as caught:
        layer(store, *entries, max_size=2**21, where="func.yaml")
    assert message == str(caught.value)
    assert [] == [item for item in store.items() if item.kind != "keys"]
    layer(store, *entries, max_size=2**23)
    with pytest.raises(ProjectError, match="most of it app/big"):
        layer(store, *entries, max_size=2**21)


def test_what_is_too_large_is_not_read(store: Store) -> None:
    with pytest.raises(ProjectError, match="has 1Gi, most of it a"):
        layer(store, Entry("a", 0o644, "file", 2**30, pytest.fail), max_size=2**21)


def test_an_error_in_the_middle_leaves_nothing(store: Store) -> None:
    def broken() -> io.BytesIO:
        raise OSError(5, "Input/output error", "/models/a")

    with pytest.raises(OSError, match="/models/a"):
        layer(store, file("a", WORDS), Entry("b", 0o644, "file", 1, broken))
    assert [] == store.items()


def test_threads_make_layers_beside_each_other(store: Store) -> None:
    barrier = threading.Barrier(4)

    def make(number: int) -> Layer:
        barrier.wait(30)
        return layer(store, file(f"a{number % 2}", WORDS))

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(make, range(4)))
    assert {True} == {
        each.descriptor.digest == "sha256:" + hashlib.sha256(blob(store, each)).hexdigest() for each in made
    }


def test_memory_is_bounded(store: Store) -> None:
    """200 MB that do not compress."""
    code = """
import io, os, resource, sys
from pathlib import Path
from upon_build.image.layers.layer import make_layer
from upon_build.image.store import Store
from upon_build.image.layers.tar import Entry

class Endless(io.RawIOBase):
    left, noise = 200 * 2**20, os.urandom(2**18)
    def read(self, size):
        piece = self.noise[:min(size, self.left)]
        self.left -= len(piece)
        return piece

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made = make_layer(Store(Path(sys.argv[1])), "k", lambda: [Entry("a", 0o644, "file", Endless.left, Endless)],
                  title="a", kind="model", level=1)
print(made.size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code, store.folder], capture_output=True, text=True, timeout=100)
    size, grown = map(int, done.stdout.split())
    assert 200 * 2**20 + 1536 == size
    assert grown < 40_000  # KiB
