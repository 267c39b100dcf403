"""A build that is cut off leaves nothing under the tag, and the next one goes on; a cache that several builds share."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.builds import Builder, Built, blobs_in, copied, damaged, wheels_alone
from support.proxies import Door, door
from support.readers import Skopeo

pytestmark = pytest.mark.timeout(300)  # the first test may be the one that fetches packages

MODEL = 12_000_000  # bytes: a part of what goes through the slow door
RATE = 16_000_000.0  # bytes a second


@pytest.fixture
def project(builder: Builder, small_project: Path, tmp_path: Path) -> Path:
    """With a data file that no other test has pushed."""
    folder = copied(small_project, tmp_path / "project")
    (folder / "data.bin").write_bytes(random.Random(tmp_path.name).randbytes(MODEL))
    return folder


@pytest.fixture
def slow(builder: Builder) -> Iterator[Door]:
    with door(builder.registry.port, RATE) as opened:
        yield opened


def through(opened: Door, builder: Builder, repository: str) -> list[str]:
    """The arguments of a build that pushes through the door."""
    found = builder.arguments(repository)
    found[found.index("--image") + 1] = f"127.0.0.1:{opened.port}/{repository}:latest"
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_cut_off_while_it_pushes(
    builder: Builder, project: Path, slow: Door, skopeo: Skopeo, number: signal.Signals
) -> None:
    repository = f"interrupted/{number.name.lower()}"
    process = builder.begin(*through(slow, builder, repository), cwd=project)
    slow.wait_for(MODEL // 3)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)

    expected = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130, signal.SIGTERM: -signal.SIGTERM}
    assert expected[number] == process.returncode, stderr
    assert "Traceback" not in stderr
    assert [] == builder.registry.tags(repository)
    assert [] == damaged(builder.cache)

    built = builder.build(project, repository)
    assert "latest" in builder.registry.tags(repository)
    assert built.digest == skopeo.inspect(builder.reference(repository))["Digest"]


def test_what_arrived_is_not_sent_again(builder: Builder, project: Path, slow: Door) -> None:
    registry, repository = builder.registry, "interrupted/rest"
    mark = registry.mark()
    process = builder.begin(*through(slow, builder, repository), cwd=project)
    try:
        arrived = wait_until(lambda: registry.received(since=mark), lambda found: len(found) >= 2)
    finally:
        process.kill()
        process.communicate(timeout=30)
    mark = registry.mark()
    built = builder.build(project, repository)
    later = registry.received(since=mark)
    assert not arrived.keys() & later.keys()
    assert built.digest in later


def wait_until(look: Callable[[], dict[str, int]], enough: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    deadline = time.monotonic() + 60
    while not enough(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def test_two_builds_at_once_share_a_cold_cache_and_a_repository(
    builder: Builder, small_project: Path, tmp_path: Path, skopeo: Skopeo
) -> None:
    cache, repository = str(tmp_path / "cache"), "atonce/both"
    running = [
        builder.begin(
            *builder.arguments(repository), cwd=copied(small_project, tmp_path / str(number)), UPON_CACHE=cache
        )
        for number in range(2)
    ]
    said = [process.communicate(timeout=200) for process in running]
    assert [0, 0] == [process.returncode for process in running], said
    digests = {Built(json.loads(stdout), stderr).digest for stdout, stderr in said}
    assert {skopeo.inspect(builder.reference(repository))["Digest"]} == digests
    assert [] == damaged(Path(cache))


@pytest.fixture
def own_cache(builder: Builder, small_project: Path, tmp_path: Path) -> Path:
    """With packages that need not be fetched, and no layer. It is the test's to ruin."""
    assert small_project.is_dir()
    return wheels_alone(builder.cache, tmp_path / "cache")


def test_the_cache_can_be_emptied_and_filled_again(builder: Builder, small_project: Path, own_cache: Path) -> None:
    env = {"UPON_CACHE": str(own_cache)}
    expected = builder.build(small_project, "builds/small", **env).digest
    pruned = builder.run("cache", "prune", "--limit", "20Mi", cwd=small_project, **env)
    assert 0 == pruned.returncode, pruned.stderr
    assert sum(path.stat().st_size for path in own_cache.rglob("*") if path.is_file()) <= 20 * 2**20
    assert expected == builder.build(small_project, "builds/small", **env).digest
    assert [] == damaged(own_cache)

    emptied = builder.run("cache", "prune", "--all", cwd=small_project, **env)
    assert 0 == emptied.returncode, emptied.stderr
    assert [] == [path for path in own_cache.rglob("*") if path.is_file() and path.stat().st_size]


def test_a_damaged_blob_is_never_under_a_tag(builder: Builder, small_project: Path, own_cache: Path) -> None:
    """A disk that lies: either the build says so, or the image is right."""
    expected = builder.build(small_project, "builds/small", UPON_CACHE=str(own_cache)).digest
    for path in blobs_in(own_cache).values():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)
    done = builder.run(*builder.arguments("damaged/blobs"), cwd=small_project, UPON_CACHE=str(own_cache))
    assert "Traceback" not in done.stderr
    if done.returncode == 0:
        assert expected == Built(json.loads(done.stdout), done.stderr).digest
    else:
        assert [] == builder.registry.tags("damaged/blobs")
