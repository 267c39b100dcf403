"""A change moves its own layer and nothing else: what the registry received is in its log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from support.builds import Builder, Built, copied, created_in, make_wheel
from support.readers import Skopeo

pytestmark = pytest.mark.timeout(300)  # the first test may be the one that fetches packages

LARGE = 3_000_000  # bytes of a wheel that has a layer of its own


PLAIN = ("--no-sbom", "--no-provenance")


@dataclass
class Changing:
    """A project whose first state is in `repository`; what is pushed there after a change is the change."""

    builder: Builder
    skopeo: Skopeo
    folder: Path
    wheels: Path
    repository: str = "changes/all"

    def push(self, *flags: str) -> tuple[Built, dict[str, int]]:
        """What the build said, and digest -> bytes of what the registry received."""
        mark = self.builder.registry.mark()
        built = self.builder.build(self.folder, self.repository, *flags, UV_FIND_LINKS=str(self.wheels))
        return built, self.builder.registry.received(since=mark)

    def lock(self) -> None:
        self.builder.lock(self.folder, UV_FIND_LINKS=str(self.wheels))

    def require(self, *lines: str) -> None:
        (self.folder / "requirements.txt").write_text("".join(f"{line}\n" for line in ("upon[cpu,serve]", *lines)))

    def manifest(self, digest: str) -> dict[str, Any]:
        return self.skopeo.raw(f"docker://{self.builder.registry.repository(self.repository)}@{digest}")

    def kinds(self, built: Built, received: Mapping[str, int]) -> list[str]:
        """What of the image was received; what belongs to none of its layers is left out."""
        manifest = self.manifest(built.digest)
        moved = [layer for layer in manifest["layers"] if layer["digest"] in received]
        layers = [layer.get("annotations", {}).get("dev.upon.layer", "base") for layer in moved]
        return sorted([*layers, *(["config"] if manifest["config"]["digest"] in received else [])])


@pytest.fixture(scope="module")
def first(builder: Builder, skopeo: Skopeo, tmp_path_factory: pytest.TempPathFactory) -> Changing:
    folder = tmp_path_factory.mktemp("changes")
    for version in ("1.0", "2.0"):
        make_wheel(folder / "wheels", "upontestlarge", version, size=LARGE)
        make_wheel(folder / "wheels", "upontestsmall", version)
    found = Changing(builder, skopeo, created_in(folder), folder / "wheels")
    found.require("upontestlarge==1.0", "upontestsmall==1.0")
    found.lock()
    built, received = found.push(*PLAIN)
    assert built.digest in received
    return found


@pytest.fixture
def changing(first: Changing, tmp_path: Path) -> Changing:
    """In its first state, in a folder of the test's own."""
    return replace(first, folder=copied(first.folder, tmp_path / "demo"))


def test_nothing_moves_when_nothing_changed(changing: Changing) -> None:
    built, received = changing.push(*PLAIN)
    assert {} == received
    assert 0 == built.pushed_bytes


def test_a_comment_moves_the_code_and_the_configuration(changing: Changing) -> None:
    with open(changing.folder / "app.py", "a") as file:
        file.write("# a remark\n")
    built, received = changing.push(*PLAIN)
    assert ["code", "config"] == changing.kinds(built, received)
    assert 3 == len(received)  # with the image's manifest
    assert built.pushed_bytes == sum(received.values())
    assert built.pushed_bytes < 50_000


def test_documents_are_beside_the_image_and_move_with_it(changing: Changing) -> None:
    with open(changing.folder / "app.py", "a") as file:
        file.write("# another remark\n")
    built, received = changing.push()
    assert ["code", "config"] == changing.kinds(built, received)
    assert built.digest in received
    assert sum(received.values()) < 1_000_000


def test_a_large_dependency_moves_alone(changing: Changing) -> None:
    changing.require("upontestlarge==2.0", "upontestsmall==1.0")
    changing.lock()
    built, received = changing.push(*PLAIN)
    assert ["code", "config", "package"] == changing.kinds(built, received)  # requirements.txt lies with the code
    assert LARGE < built.pushed_bytes < 1.2 * LARGE


def test_a_small_dependency_moves_the_small_ones(changing: Changing) -> None:
    changing.require("upontestlarge==1.0", "upontestsmall==2.0")
    changing.lock()
    built, received = changing.push(*PLAIN)
    assert ["code", "config", "packages"] == changing.kinds(built, received)


def test_a_model_moves_alone(changing: Changing) -> None:
    onnx = pytest.importorskip("onnx")
    path = changing.folder / "models/iris.onnx"
    model = onnx.load(path)
    model.doc_string = "another one"
    onnx.save(model, path)
    changing.lock()
    built, received = changing.push(*PLAIN)
    assert ["config", "model"] == changing.kinds(built, received)


def test_a_changed_function_moves_the_manifest_too(changing: Changing) -> None:
    app = changing.folder / "app.py"
    app.write_text(app.read_text().replace("POST /classify", "POST /sort"))
    built, received = changing.push(*PLAIN)
    assert ["code", "config", "manifest"] == changing.kinds(built, received)


def test_another_repository_takes_the_base_from_its_own(changing: Changing) -> None:
    """Mounted in the registry: its bytes go nowhere."""
    mark = changing.builder.registry.mark()
    built, received = replace(changing, repository="changes/elsewhere").push(*PLAIN)
    base = changing.manifest(changing.push(*PLAIN)[0].digest)["layers"][0]["digest"]
    assert base in {request.mounted for request in changing.builder.registry.requests(since=mark)}
    assert base not in received
    assert built.pushed_bytes == sum(received.values())
