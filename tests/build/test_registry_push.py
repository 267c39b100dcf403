"""Whole images to a real registry: what moves, what is counted, and in which order things become visible."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from support.artifacts import image_of
from support.faulty_registry import Handler, answers, faulty
from support.registry import RealRegistry
from upon_build.image.oci import INDEX, canonical, describe
from upon_build.image.store import Store
from upon_build.registry.client import Repository
from upon_build.registry.errors import RegistryError
from upon_build.registry.progress import Silent
from upon_build.registry.push import Pushed, push_image, push_index
from upon_build.registry.reference import parse_reference


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def repository(name: str, progress: Silent | None = None) -> Repository:
    return Repository(parse_reference(name), env={}, progress=progress)


def told(pushed: Pushed) -> tuple[int, int, int]:
    """What was counted. That `sent` are as many as `blobs` is always so."""
    assert pushed.blobs == len(pushed.sent)
    return pushed.bytes, pushed.blobs, pushed.mounted


def test_bytes_are_those_that_the_registry_received(registry: RealRegistry, store: Store) -> None:
    image = image_of(store, b"base", b"wheels", b"code")
    mark = registry.mark()
    with repository(registry.repository("push/first")) as found:
        pushed = push_image(image, store, found, "v1")
        assert (sum(registry.received(mark).values()), 4, 0) == told(pushed)
        mark = registry.mark()
        assert (0, 0, 0) == told(push_image(image, store, found, "v1"))
        assert {} == registry.received(mark)
        assert (len(image.content), 0, 0) == told(push_image(image, store, found, "v2"))
    assert {image.descriptor.digest: len(image.content)} == registry.received(mark)


def test_after_a_change_of_code_the_code_alone_moves(registry: RealRegistry, store: Store) -> None:
    before = image_of(store, b"base", b"wheels", b"code")
    after = image_of(store, b"base", b"wheels", b"changed code")
    with repository(registry.repository("push/change")) as found:
        push_image(before, store, found, "v1")
        mark = registry.mark()
        pushed = push_image(after, store, found, "v1")
    moved = {after.layers[2].descriptor.digest, after.config_descriptor.digest, after.descriptor.digest}
    assert moved == set(registry.received(mark))
    assert len(b"changed code") + len(after.config) + len(after.content) == pushed.bytes
    assert after.descriptor.digest == registry.tagged("push/change", "v1")


def test_the_same_layer_twice_is_sent_once(registry: RealRegistry, store: Store) -> None:
    image = image_of(store, b"twice", b"twice")
    with repository(registry.repository("push/twice")) as found:
        assert 2 == push_image(image, store, found, "v1").blobs


def test_a_bases_layers_are_mounted_from_the_same_registry_unseen(
    registry: RealRegistry, store: Store, tmp_path: Path
) -> None:
    base = image_of(store, b"layer one of the base", b"layer two of the base")
    with repository(registry.repository("push/base")) as found:
        push_image(base, store, found, "v1")
    mine = Store(tmp_path / "mine")
    source = registry.repository("push/base")
    image = image_of(mine, b"layer one of the base", b"layer two of the base", source=source, keep=False)
    with repository(registry.repository("push/app")) as found:
        pushed = push_image(image, mine, found, "v1")
    assert (len(image.config) + len(image.content), 1, 2) == told(pushed)
    assert mine.find(base.layers[0].descriptor.digest) is None


def test_a_bases_layers_are_fetched_from_another_registry(registry: RealRegistry, store: Store, tmp_path: Path) -> None:
    with faulty() as elsewhere:
        elsewhere.add(b"a layer from elsewhere")
        source = f"{elsewhere.host}/library/python"
        image = image_of(store, b"a layer from elsewhere", source=source, keep=False)
        with repository(registry.repository("push/moved")) as found:
            pushed = push_image(image, store, found, "v1")
    assert (22 + len(image.config) + len(image.content), 2, 0) == told(pushed)
    assert b"a layer from elsewhere" == registry.blob(image.layers[0].descriptor.digest).read_bytes()


def test_a_base_that_was_pruned_from_its_registry_is_fetched_where_no_mount_is_possible(
    registry: RealRegistry, store: Store
) -> None:
    image = image_of(store, b"nowhere", source=registry.repository("push/nowhere"), keep=False)
    with repository(registry.repository("push/wants")) as found:
        with pytest.raises(RegistryError, match="push/nowhere"):
            push_image(image, store, found, "v1")
    assert [] == registry.tags("push/wants")


def test_a_layer_that_is_nowhere_is_told(registry: RealRegistry, store: Store) -> None:
    image = image_of(store, b"lost", keep=False)
    with repository(registry.repository("push/lost")) as found:
        with pytest.raises(RegistryError, match="is not in the cache any more: build again"):
            push_image(image, store, found, "v1")


def test_an_index_comes_after_its_images(registry: RealRegistry, store: Store) -> None:
    images = [image_of(store, b"common", name.encode(), name=name) for name in ("amd64", "arm64")]
    entries = [image.descriptor.as_dict() for image in images]
    content = canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    index = describe(content, INDEX)
    mark = registry.mark()
    with repository(registry.repository("push/index")) as found:
        pushed = push_index(index, content, images, store, found, "v1")
        assert (index, content) == found.resolve("v1")
        for image in images:
            assert (image.descriptor, image.content) == found.resolve(image.descriptor.digest)
    assert (sum(registry.received(mark).values()), 5, 0) == told(pushed)
    assert ["v1"] == registry.tags("push/index")


def test_the_first_failure_stops_everything_and_no_tag_appears(store: Store) -> None:
    image = image_of(store, *(bytes([number]) * 1000 for number in range(20)))
    with faulty() as registry:
        registry.fail("POST", "uploads", answers(403, b'{"errors":[{"code":"DENIED","message":"no"}]}'), times=100)
        with repository(f"{registry.host}/acme/app") as found:
            with pytest.raises(RegistryError, match="DENIED"):
                push_image(image, store, found, "v1")
        assert [] == registry.asked("PUT")
        assert len(registry.asked("POST")) < 10


def test_four_blobs_go_at_once(store: Store) -> None:
    """Each of four uploads waits until all of them have come: one after another, none would ever end."""
    barrier = threading.Barrier(4, timeout=30)

    def together(handler: Handler) -> None:
        barrier.wait()
        handler.work()

    image = image_of(store, b"one", b"two", b"three")
    with faulty() as registry:
        registry.fail("PUT", "uploads", together, times=4)
        with repository(f"{registry.host}/acme/app") as found:
            push_image(image, store, found, "v1")
        assert {"v1", image.descriptor.digest} == set(registry.manifests)


class Counting(Silent):
    def __init__(self) -> None:
        self.done: dict[int, int] = {}
        self.totals: dict[int, int] = {}
        self.ended: set[int] = set()

    def begin(self, what: str, total: int) -> int:
        task = len(self.totals)
        self.totals[task], self.done[task] = total, 0
        return task

    def advance(self, task: int, done: int) -> None:
        self.done[task] += done

    def end(self, task: int) -> None:
        self.ended.add(task)


def test_progress_reaches_the_end_of_every_blob(registry: RealRegistry, store: Store) -> None:
    progress = Counting()
    image = image_of(store, b"x" * 1000, b"y" * 2000)
    with repository(registry.repository("push/progress"), progress) as found:
        push_image(image, store, found, "v1")
    assert progress.totals == progress.done
    assert {0, 1, 2} == progress.ended
    assert 3000 + len(image.config) == sum(progress.done.values())


def test_the_double_is_a_registry_like_the_real_one(store: Store) -> None:
    image = image_of(store, b"one", b"two")
    with faulty() as registry, repository(f"{registry.host}/acme/app") as found:
        push_image(image, store, found, "v1")
        assert (image.descriptor, image.content) == found.resolve("v1")
        assert {image.config_descriptor.digest, *(one.descriptor.digest for one in image.layers)} == set(registry.blobs)
