"""Registries that fail: what is tried again, what goes on where it was cut, and what is told."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.artifacts import image_of, layer_of
from support.cutting import cutting
from support.faulty_registry import (
    Fault,
    FaultyRegistry,
    Handler,
    answers,
    cut,
    cut_download,
    cut_upload,
    drips,
    faulty,
    lies,
    trickles,
)
from support.registry import RealRegistry
from support.servers import free_port
from upon_build.cli.exits import Exit, exit_of
from upon_build.image.oci import MANIFEST, Descriptor, Image, describe
from upon_build.image.store import Store
from upon_build.registry.client import Repository
from upon_build.registry.credentials import Credentials
from upon_build.registry.errors import DigestMismatch, NotFound, RegistryError, RegistryUnavailable
from upon_build.registry.limits import Limits
from upon_build.registry.progress import Silent
from upon_build.registry.push import push_image
from upon_build.registry.reference import parse_reference
from upon_build.registry.retry import Policy
from upon_build.registry.session import Session
from upon_build.registry.upload import Upload

HASTY = Limits(connect=5.0, answer=0.5, finish=0.5, stall=0.5)
CHUNK = 1000
BIG = os.urandom(3500)


class Pauses:
    """A policy that does not wait, and remembers how long it would have."""

    def __init__(self, **more: int) -> None:
        self.taken: list[float] = []
        self.policy = Policy(dice=lambda: 1.0, pause=lambda seconds, stop: self.taken.append(seconds), **more)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with faulty() as registry:
        yield registry


@pytest.fixture
def repository(server: FaultyRegistry, pauses: Pauses) -> Iterator[Repository]:
    reference = parse_reference(f"{server.host}/acme/app:v1")
    with Repository(reference, env={}, policy=pauses.policy, limits=HASTY) as found:
        yield found


def said(code: str, message: str) -> bytes:
    return f'{{"errors":[{{"code":"{code}","message":"{message}"}}]}}'.encode()


# Refusals are told at once


@pytest.mark.parametrize(
    ("status", "body", "kind", "exit", "words"),
    [
        (401, said("UNAUTHORIZED", "who?"), RegistryUnavailable, Exit.UNAVAILABLE, "UNAUTHORIZED: who?.*docker login"),
        (403, said("DENIED", "not you"), RegistryUnavailable, Exit.UNAVAILABLE, "DENIED: not you.*ask its owner"),
        (404, said("NAME_UNKNOWN", "what?"), NotFound, Exit.FAILED, "NAME_UNKNOWN: what?.*to be made before"),
        (413, b"<html>nginx</html>", RegistryError, Exit.FAILED, "so large an upload.*client_max_body_size"),
        (400, b"\xff\x00", RegistryError, Exit.FAILED, "answered 400"),
        (405, b"[]", RegistryError, Exit.FAILED, "answered 405.*check the name"),
    ],
)
def test_a_refusal_is_told_at_once_with_the_registrys_words_and_a_remedy(
    server: FaultyRegistry,
    repository: Repository,
    store: Store,
    pauses: Pauses,
    status: int,
    body: bytes,
    kind: type[RegistryError],
    exit: Exit,
    words: str,
) -> None:
    server.fail("POST", "uploads", answers(status, body), times=100)
    with pytest.raises(kind, match=words) as raised:
        push_image(image_of(store, b"layer"), store, repository, "v1")
    assert f"{server.host}/acme/app" in str(raised.value)
    assert status == raised.value.status
    assert exit is exit_of(raised.value)
    assert [] == pauses.taken
    assert {} == server.manifests


def test_a_registry_can_not_write_on_the_terminal(server: FaultyRegistry, repository: Repository) -> None:
    server.fail("GET", "manifests", answers(403, said("DENIED", "\\u001b[2Jred\\nalert" + "x" * 1000)))
    with pytest.raises(RegistryError) as raised:
        repository.resolve()
    assert str(raised.value).isprintable()
    assert "DENIED: [2Jred alertxxx" in str(raised.value)
    assert len(str(raised.value)) < 600


# What passes is tried again


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(
    server: FaultyRegistry, repository: Repository, store: Store, pauses: Pauses, status: int
) -> None:
    for method, path in (("HEAD", "blobs"), ("POST", "uploads"), ("PUT", "uploads"), ("PUT", "manifests")):
        server.fail(method, path, answers(status, said("TOOMANYREQUESTS", "slow down")))
    image = image_of(store, b"layer")
    push_image(image, store, repository, "v1")
    assert image.content == server.manifests["v1"][1]
    assert [0.25] * 4 == pauses.taken


def test_retry_after_is_kept_to_a_bound(server: FaultyRegistry, repository: Repository, pauses: Pauses) -> None:
    server.manifests["v1"] = (MANIFEST, b"{}")
    server.fail("GET", "manifests", answers(429, retry_after="3"))
    server.fail("GET", "manifests", answers(503, retry_after="86400"))
    repository.resolve()
    assert [3.0, 60.0] == pauses.taken


@pytest.mark.parametrize(("status", "words"), [(429, "allows no more requests"), (500, "answered 500.*later")])
def test_patience_has_an_end(
    server: FaultyRegistry, repository: Repository, pauses: Pauses, status: int, words: str
) -> None:
    server.fail("GET", "manifests", answers(status), times=100)
    with pytest.raises(RegistryError, match=words) as raised:
        repository.resolve()
    assert Exit.FAILED is exit_of(raised.value)
    assert [0.25, 0.5, 1.0, 2.0, 4.0, 8.0] == pauses.taken


def test_nobody_there_is_told_soon(pauses: Pauses) -> None:
    reference = parse_reference(f"127.0.0.1:{free_port()}/acme/app")
    with Repository(reference, env={}, policy=pauses.policy) as repository:
        with pytest.raises(RegistryUnavailable, match=r"can't be connected to .*refused.*check the name") as raised:
            repository.resolve()
    assert Exit.UNAVAILABLE is exit_of(raised.value)
    assert 2 == len(pauses.taken)


def test_a_name_that_does_not_resolve_is_told(pauses: Pauses) -> None:
    with Repository(parse_reference("nowhere.invalid/acme/app"), env={}, policy=pauses.policy) as repository:
        with pytest.raises(RegistryUnavailable, match=r"nowhere\.invalid is no name that can be resolved"):
            repository.resolve()


def test_a_registry_elsewhere_without_tls_gets_no_request(server: FaultyRegistry, pauses: Pauses) -> None:
    """A name that is not this machine's by itself, though it leads here."""
    name = f"127.0.0.1.nip.test:{server.host.partition(':')[2]}"
    env = {"https_proxy": f"http://{server.host}"}
    with Repository(parse_reference(f"{name}/acme/app"), env=env, policy=pauses.policy) as repository:
        with pytest.raises(RegistryUnavailable, match="proxy"):
            repository.resolve()
    assert {"CONNECT"} >= {seen.method for seen in server.seen}


# Connections that are cut


def uploading(server: FaultyRegistry, store: Store, pauses: Pauses, content: bytes = BIG) -> Upload:
    layer = layer_of(store, content).descriptor
    path = store.find(layer.digest)
    assert path is not None
    session = Session(parse_reference(f"{server.host}/acme/app"), Credentials.none(), env={}, policy=pauses.policy)
    session.pushing = True
    there = server.blobs.__contains__
    return Upload(session, layer, path, progress=Silent(), there=there, stop=threading.Event(), chunk=CHUNK)


def test_an_upload_goes_on_where_it_was_cut(server: FaultyRegistry, store: Store, pauses: Pauses) -> None:
    server.fail("PATCH", "uploads", cut_upload(400), after=1)
    sent = uploading(server, store, pauses).run()
    assert [BIG] == list(server.blobs.values())
    ranges = [seen.headers["Content-Range"] for seen in server.asked("PATCH")]
    assert ["0-999", "1000-1999", "1400-2399", "2400-3399", "3400-3499"] == ranges
    assert 3500 + 1000 - 400 == sent.bytes
    assert [0.25] == pauses.taken


def test_an_upload_that_goes_on_is_never_given_up(server: FaultyRegistry, store: Store, pauses: Pauses) -> None:
    """Ten cuts, one in each chunk but one: progress forgives them."""
    server.fail("PATCH", "uploads", cut_upload(500), times=10)
    content = os.urandom(20 * 500)
    uploading(server, store, pauses, content).run()
    assert [content] == list(server.blobs.values())


def test_an_upload_that_is_cut_all_the_time_is_told(server: FaultyRegistry, store: Store, pauses: Pauses) -> None:
    server.fail("PATCH", "uploads", cut_upload(0), times=1000)
    with pytest.raises(RegistryUnavailable, match="broke the connection off"):
        uploading(server, store, pauses).run()
    assert 6 == len(pauses.taken)


def test_an_upload_that_the_registry_forgot_begins_anew(server: FaultyRegistry, store: Store, pauses: Pauses) -> None:
    server.fail("PATCH", "uploads", cut_upload(10), after=1)
    server.fail("GET", "uploads", answers(404, said("BLOB_UPLOAD_UNKNOWN", "gone")))
    uploading(server, store, pauses).run()
    assert [BIG] == list(server.blobs.values())
    assert 2 == len(server.asked("POST"))


def test_an_answer_that_was_lost_is_asked_for_and_nothing_sent_twice(
    server: FaultyRegistry, store: Store, pauses: Pauses
) -> None:
    def stored_and_cut(handler: Handler) -> None:
        handler.silent = True
        handler.work()
        handler.close_connection = True

    server.fail("PUT", "uploads", stored_and_cut)
    uploading(server, store, pauses).run()
    assert 1 == len(server.asked("POST"))


@pytest.mark.parametrize("status", [400, 404, 405, 416, 501])
def test_a_registry_that_takes_no_chunks_gets_the_whole(
    server: FaultyRegistry, store: Store, pauses: Pauses, status: int
) -> None:
    server.fail("PATCH", "uploads", answers(status, said("UNSUPPORTED", "no chunks")), times=100)
    uploading(server, store, pauses).run()
    assert [BIG] == list(server.blobs.values())
    assert [len(BIG)] == [seen.size for seen in server.asked("PUT")]


def test_a_registry_that_kept_less_gets_the_rest(server: FaultyRegistry, store: Store, pauses: Pauses) -> None:
    def keeps_half(handler: Handler) -> None:
        handler.registry.uploads[handler.last].extend(handler.drain()[:500])
        handler.reply(202, range="0-499", location=handler.path)

    server.fail("PATCH", "uploads", keeps_half)
    uploading(server, store, pauses).run()
    assert [BIG] == list(server.blobs.values())


def test_a_real_registry_takes_an_upload_that_was_cut(registry: RealRegistry, store: Store, pauses: Pauses) -> None:
    """Between us and it sits somebody who cuts the first connections after so many bytes."""
    content = os.urandom(300_000)
    layer = layer_of(store, content).descriptor
    path = store.find(layer.digest)
    assert path is not None
    with cutting(registry.port, [150_000, 120_000, 80_000]) as port:
        session = Session(
            parse_reference(f"127.0.0.1:{port}/faults/cut"), Credentials.none(), env={}, policy=pauses.policy
        )
        session.pushing = True
        upload = Upload(
            session,
            layer,
            path,
            progress=Silent(),
            there=lambda digest: False,
            stop=threading.Event(),
            chunk=100_000,
        )
        upload.run()
    assert content == registry.blob(layer.digest).read_bytes()
    assert pauses.taken


def test_a_download_goes_on_where_it_was_cut(
    server: FaultyRegistry, repository: Repository, store: Store, pauses: Pauses
) -> None:
    descriptor = described(server, BIG)
    server.fail("GET", "blobs", cut_download(1200))
    server.fail("GET", "blobs", cut_download(1000))
    assert BIG == repository.fetch(descriptor, store).read_bytes()
    assert [None, "bytes=1200-", "bytes=2200-"] == [seen.headers.get("Range") for seen in server.asked("GET", "blobs")]


def test_a_download_goes_on_though_ranges_are_ignored(
    server: FaultyRegistry, repository: Repository, store: Store
) -> None:
    descriptor = described(server, BIG)
    server.fail("GET", "blobs", cut_download(1200))
    server.fail("GET", "blobs", answers(200, BIG))
    assert BIG == repository.fetch(descriptor, store).read_bytes()


def test_a_download_of_another_part_is_refused(server: FaultyRegistry, repository: Repository, store: Store) -> None:
    descriptor = described(server, BIG)
    server.fail("GET", "blobs", cut_download(1200))
    server.fail("GET", "blobs", answers(206, BIG[2000:], content_range="bytes 2000-3499/3500"))
    with pytest.raises(RegistryError, match="another part"):
        repository.fetch(descriptor, store)


def described(server: FaultyRegistry, content: bytes) -> Descriptor:
    return Descriptor("application/x", server.add(content), len(content))


# Lies


@pytest.mark.parametrize("content", [b"y" * 100, b"x" * 99, b"x" * 101], ids=["other", "less", "more"])
def test_a_blob_that_is_not_its_digest_is_told_and_not_kept(
    server: FaultyRegistry, repository: Repository, store: Store, content: bytes
) -> None:
    descriptor = described(server, b"x" * 100)
    server.fail("GET", "blobs", lies(content))
    with pytest.raises(DigestMismatch, match=descriptor.digest) as raised:
        repository.fetch(descriptor, store)
    assert Exit.FAILED is exit_of(raised.value)
    assert store.find(descriptor.digest) is None
    assert [] == [item for item in store.items() if item.kind in ("blobs", "tmp")]


def test_a_manifest_that_is_not_its_digest_is_told(server: FaultyRegistry, repository: Repository) -> None:
    digest = describe(b"{}", MANIFEST).digest
    server.fail("GET", "manifests", lies(b"{ }"))
    with pytest.raises(DigestMismatch, match=digest):
        repository.resolve(digest)


def test_a_manifest_that_is_not_what_its_header_says_is_told(server: FaultyRegistry, repository: Repository) -> None:
    digest = describe(b"{}", MANIFEST).digest
    answer = answers(200, b"{ }", content_type=MANIFEST, docker_content_digest=digest)
    server.fail("GET", "manifests", answer)
    with pytest.raises(DigestMismatch, match=digest):
        repository.resolve("v1")


@pytest.mark.parametrize(("method", "path"), [("PUT", "uploads"), ("PUT", "manifests")])
def test_a_registry_that_stored_something_else_is_told(
    server: FaultyRegistry, repository: Repository, store: Store, method: str, path: str
) -> None:
    server.fail(method, path, answers(201, docker_content_digest="sha256:" + "0" * 64))
    with pytest.raises(DigestMismatch, match="0000"):
        push_image(image_of(store, b"layer"), store, repository, "v1")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b" " * (4 * 2**20 + 1), "more than 4194304 bytes"),
        (b"<html>", "no JSON object"),
        (b"[]", "no JSON object"),
        (b'{"mediaType":"application/vnd.docker.distribution.manifest.v1+prettyjws"}', "no image that can be read"),
    ],
    ids=["large", "html", "list", "schema 1"],
)
def test_what_is_no_manifest_is_refused(
    server: FaultyRegistry, repository: Repository, content: bytes, words: str
) -> None:
    server.fail("GET", "manifests", answers(200, content, content_type="text/html"))
    with pytest.raises(RegistryError, match=words):
        repository.resolve("v1")


# Deadlines


@pytest.mark.parametrize("fault", [drips, trickles])
def test_an_answer_that_never_ends_is_given_up(
    server: FaultyRegistry, repository: Repository, pauses: Pauses, fault: Fault
) -> None:
    server.fail("GET", "manifests", fault, times=100)
    with Repository(repository.reference, env={}, policy=Pauses(attempts=2).policy, limits=HASTY) as impatient:
        with pytest.raises(RegistryUnavailable, match=r"did not answer in time|too slowly"):
            impatient.resolve()
    assert 2 == len(server.asked("GET", "manifests"))


def test_a_blob_that_trickles_is_given_up(server: FaultyRegistry, repository: Repository, store: Store) -> None:
    descriptor = Descriptor("application/x", "sha256:" + "0" * 64, 100_000)
    server.fail("GET", "blobs", trickles, times=100)
    with Repository(repository.reference, env={}, policy=Pauses(total=2).policy, limits=HASTY) as impatient:
        with pytest.raises(RegistryUnavailable, match="too slowly"):
            impatient.fetch(descriptor, store)


def test_a_connection_that_is_cut_before_an_answer_is_tried_again(
    server: FaultyRegistry, repository: Repository, store: Store, pauses: Pauses
) -> None:
    server.fail("POST", "uploads", cut)
    push_image(image_of(store, b"layer"), store, repository, "v1")
    assert [0.25] == pauses.taken


# The next run


def test_an_interrupted_push_shows_nothing_and_the_next_one_sends_the_rest(
    server: FaultyRegistry, repository: Repository, store: Store
) -> None:
    image = image_of(store, b"one", b"two", b"three")
    server.fail("PUT", image.layers[2].descriptor.digest.replace(":", "%3A"), answers(403))
    with pytest.raises(RegistryUnavailable):
        push_image(image, store, repository, "v1")
    assert {} == server.manifests
    missing = {digest for digest in digests(image) if digest not in server.blobs}
    assert image.layers[2].descriptor.digest in missing
    assert missing == push_image(image, store, repository, "v1").sent
    assert image.content == server.manifests["v1"][1]


def digests(image: Image) -> set[str]:
    return {image.config_descriptor.digest, *(layer.descriptor.digest for layer in image.layers)}
