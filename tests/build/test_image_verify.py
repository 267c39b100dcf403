from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from support.registry import RealRegistry
from support.small_images import Maker, file
from upon_build.image.assembly.index import make_index
from upon_build.image.layers.tar import Entry
from upon_build.image.oci import Image, Layer
from upon_build.image.plan import Built
from upon_build.image.store import Store
from upon_build.image.verify import NotReproduced, cold_store, compare_with_pushed, rebuild_and_compare
from upon_build.lock.lockfile import Lock, Package
from upon_build.registry.client import Repository
from upon_build.registry.credentials import Credentials
from upon_build.registry.errors import NotFound
from upon_build.registry.push import push_image, push_index
from upon_build.registry.reference import parse_reference

CODE = (file("app/a.py", b"one"), file("app/b.py", b"two"))


def in_store(store: Store) -> Callable[[Layer], Path]:
    def fetch(layer: Layer) -> Path:
        found = store.find(layer.descriptor.digest)
        assert found is not None
        return found

    return fetch


def built_in(store: Store, *images: Image, packages: tuple[Package, ...] = (), parts: tuple[Any, ...] = ()) -> Built:
    """What a build of these images says."""
    top, index = make_index(images) if len(images) > 1 else (images[0].descriptor, None)
    return Built(
        service="reviews",
        images=images,
        parts=parts,
        top=top,
        index=index,
        lock=Lock("3.12", ("linux/amd64",), "", packages),
        facts=cast(Any, None),
        bases=cast(Any, SimpleNamespace(fetch=in_store(store))),
        seconds={},
        import_seconds=0.0,
    )


def build_of(*entries: Entry) -> Callable[[Store], Built]:
    def build(store: Store) -> Built:
        return built_in(store, Maker(store.folder).of(entries))

    return build


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def repository(registry: RealRegistry) -> Iterator[Repository]:
    reference = parse_reference(registry.repository(f"verified/{uuid4().hex}"))
    with Repository(reference, credentials=Credentials({})) as opened:
        yield opened


def test_a_build_that_gives_the_same_again_is_reproduced(store: Store) -> None:
    used: list[Store] = []

    def again(cold: Store) -> Built:
        used.append(cold)
        return build_of(*CODE)(cold)

    rebuild_and_compare(build_of(*CODE)(store), again, store)
    (cold,) = used
    assert cold.folder != store.folder
    assert not cold.folder.exists()


def test_a_build_that_does_not_tells_the_first_path(store: Store) -> None:
    first = build_of(*CODE)(store)
    with pytest.raises(NotReproduced) as caught:
        rebuild_and_compare(first, build_of(CODE[0], file("app/b.py", b"2")), store)
    line = "linux/amd64: layer 'function code' (code): 'app/b.py' has another content (1 bytes and 3)"
    assert (line,) == caught.value.differences
    assert line in str(caught.value)
    assert f"not {first.digest}" in str(caught.value)


def test_the_cold_store_has_intact_wheels_alone(store: Store) -> None:
    contents = {"good": b"a wheel", "damaged": b"another"}
    packages = []
    for name, content in contents.items():
        sha256 = hashlib.sha256(content).hexdigest()
        packages.append(Package(name, "1", ("linux/amd64",), f"{name}.whl", sha256, len(content)))
        path = store.folder / "wheels" / sha256 / f"{name}.whl"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"damaged" if name == "damaged" else content)
    store.remember("made", {"of": "the first build"})
    missing = Package("missing", "1", ("linux/amd64",), "missing.whl", "0" * 64, 1)
    built = replace(build_of(*CODE)(store), lock=Lock("3.12", (), "", (*packages, missing)))
    with cold_store(built, store) as cold:
        found = [path.name for path in cold.folder.rglob("*") if path.is_file()]
        assert ["good.whl"] == found
        assert cold.recall("made") is None
        assert cold.find(built.layers[0].descriptor.digest) is None


def test_the_cold_store_has_the_bases_blobs(store: Store) -> None:
    base = Maker(store.folder).of(CODE)
    store.add(base.content)
    store.add(base.config)
    part = SimpleNamespace(base=SimpleNamespace(digest=base.descriptor.digest, layers=base.layers))
    built = built_in(store, base, parts=(part, part))
    with cold_store(built, store) as cold:
        for digest in (base.descriptor.digest, base.config_descriptor.digest, base.layers[0].descriptor.digest):
            assert cold.find(digest) is not None


def test_the_wheels_outlive_the_cold_store(store: Store) -> None:
    sha256 = hashlib.sha256(b"a wheel").hexdigest()
    path = store.folder / "wheels" / sha256 / "good.whl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a wheel")
    package = Package("good", "1", ("linux/amd64",), "good.whl", sha256, 7)
    with cold_store(built_in(store, Maker(store.folder).of(CODE), packages=(package,)), store):
        pass
    assert b"a wheel" == path.read_bytes()
    assert [] == list((store.folder / "tmp").iterdir())


def test_what_was_pushed_is_what_the_project_makes(store: Store, repository: Repository) -> None:
    built = build_of(*CODE)(store)
    push_image(built.images[0], store, repository, "1")
    assert built.digest == compare_with_pushed(built, repository, "1", store)


def test_what_was_pushed_from_other_code_is_told(store: Store, repository: Repository, tmp_path: Path) -> None:
    theirs = Store(tmp_path / "theirs")
    pushed = build_of(CODE[0], file("app/b.py", b"evil"))(theirs).images[0]
    push_image(pushed, theirs, repository, "1")
    built = build_of(*CODE)(store)
    with pytest.raises(NotReproduced) as caught:
        compare_with_pushed(built, repository, "1", store)
    assert "app/b.py" in caught.value.differences[0]
    assert f"not what this project makes: {pushed.descriptor.digest}, not {built.digest}" in str(caught.value)


def test_a_tag_that_is_not_there_is_told(store: Store, repository: Repository) -> None:
    with pytest.raises(NotFound):
        compare_with_pushed(build_of(*CODE)(store), repository, "none", store)


def of_platform(maker: Maker, architecture: str, *entries: Entry) -> Image:
    image = maker.image(maker.layer(*entries), config={"architecture": architecture})
    return replace(image, platform=f"linux/{architecture}")


def pushed_index(store: Store, repository: Repository, *images: Image) -> str:
    descriptor, content = make_index(images)
    push_index(descriptor, content, images, store, repository, "1")
    return descriptor.digest


def test_one_platform_of_many_can_be_compared(store: Store, repository: Repository) -> None:
    maker = Maker(store.folder)
    amd, arm = of_platform(maker, "amd64", *CODE), of_platform(maker, "arm64", *CODE)
    digest = pushed_index(store, repository, amd, arm)
    assert digest == compare_with_pushed(built_in(store, arm), repository, "1", store)
    assert digest == compare_with_pushed(built_in(store, amd, arm), repository, "1", store)


def test_the_platform_that_differs_is_named(store: Store, repository: Repository) -> None:
    maker = Maker(store.folder)
    amd, arm = of_platform(maker, "amd64", *CODE), of_platform(maker, "arm64", *CODE)
    pushed_index(store, repository, amd, of_platform(maker, "arm64", CODE[0]))
    with pytest.raises(NotReproduced) as caught:
        compare_with_pushed(built_in(store, amd, arm), repository, "1", store)
    (line,) = caught.value.differences
    assert line.startswith("linux/arm64: layer 'function code' (code): 'app/b.py' is only in this build's image")


def test_a_platform_that_was_not_pushed_is_told(store: Store, repository: Repository) -> None:
    maker = Maker(store.folder)
    pushed_index(store, repository, of_platform(maker, "amd64", *CODE), of_platform(maker, "s390x", *CODE))
    with pytest.raises(NotReproduced, match="linux/arm64: there is no such image"):
        compare_with_pushed(built_in(store, of_platform(maker, "arm64", *CODE)), repository, "1", store)


def test_the_error_is_for_people_and_for_scripts() -> None:
    error = NotReproduced("it differs", ["here", "there"])
    assert ("it differs\n  here\n  there", ("here", "there")) == (str(error), error.differences)
    assert json.dumps(error.differences)
