"""Running buildah, podman and docker, and reading what they make: a real buildah, and stand-ins around it."""

from __future__ import annotations

import json
import stat
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.buildah import Buildah
from support.buildah import buildah as buildah
from support.buildah import shell_base as shell_base
from support.containerfiles import entry, recipe_of, stand_in
from support.rootfs import Base as Pushed
from upon_build.image.assembly.assemble import kind_of
from upon_build.image.assembly.base import Base, Bases
from upon_build.image.oci import Image, digest_of
from upon_build.image.store import Store
from upon_build.image.tooled.built import UnreadableImage, read_built
from upon_build.image.tooled.containerfile import Recipe, build_with_containerfile
from upon_build.image.tooled.tools import MissingTool, Run, ToolFailed, find_tool
from upon_build.project import ProjectError
from upon_build.registry.client import Repository

SLOW = pytest.mark.timeout(240)
RUN = Run(platform="linux/amd64", base="docker.io/library/python@sha256:0", tag="localhost/upon/demo:x", epoch=0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def base(shell_base: Pushed, store: Store) -> Base:
    return Bases(store, Repository).find(shell_base.reference, "linux/amd64")


@pytest.fixture(scope="module")
def recipe(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return recipe_of(tmp_path_factory.mktemp("recipe"), base=base, system=("libgl1",))


@pytest.fixture(scope="module")
def image(recipe: Recipe, store: Store, buildah: Buildah) -> Image:
    """What buildah makes of it; every test of this file begins with its layers in buildah's cache."""
    return build_with_containerfile(recipe, store, env=buildah.env)


def kinds(image: Image) -> list[str]:
    return [kind_of(layer) for layer in image.layers]


def settings(image: Image) -> Mapping[str, Any]:
    return dict(json.loads(image.config)["config"])


def files(image: Image, kind: str, store: Store) -> dict[str, tarfile.TarInfo]:
    """What the layers of this kind hold, by path."""
    found: dict[str, tarfile.TarInfo] = {}
    for layer in image.layers:
        if kind_of(layer) == kind:
            path = store.find(layer.descriptor.digest)
            assert path is not None
            with tarfile.open(path) as archive:
                found |= {member.name: member for member in archive}
    return found


@SLOW
def test_the_layers_lie_on_the_base(image: Image, base: Base) -> None:
    assert list(base.layers) == list(image.layers[:2])
    expected = ["system", "system", "package", "packages", "upon", "model", "code", "manifest"]
    assert ["base", "base", *expected] == kinds(image)


@SLOW
def test_what_is_in_the_layers(image: Image, store: Store) -> None:
    site = "opt/venv/lib/python3.11/site-packages"
    assert f"{site}/large/data.bin" in files(image, "package", store)
    assert f"{site}/small/__init__.py" in files(image, "packages", store)
    assert "app/models/iris.onnx" in files(image, "model", store)
    assert {"app/func.yaml", "app/run.sh"} <= set(files(image, "code", store))
    assert "opt/upon/manifest.json" in files(image, "manifest", store)


@SLOW
def test_everything_belongs_to_root_and_is_as_old_as_the_epoch(image: Image, store: Store) -> None:
    code = files(image, "code", store)
    assert {(0, 0, 0)} == {(member.uid, member.gid, int(member.mtime)) for member in code.values()}
    assert [0o644, 0o755] == [stat.S_IMODE(code[name].mode) for name in ("app/func.yaml", "app/run.sh")]


@SLOW
def test_nothing_of_the_build_stays(image: Image, store: Store) -> None:
    names = [name for kind in ("package", "packages", "upon") for name in files(image, kind, store)]
    assert [] == [name for name in names if "__pycache__" in name or name.startswith(("wheels/", "tmp/", "root/"))]


@SLOW
def test_the_system_packages_were_asked_for(image: Image, store: Store) -> None:
    system = [layer for layer in image.layers if layer.title == "system packages: libgl1"]
    path = store.find(system[0].descriptor.digest)
    assert path is not None
    with tarfile.open(path) as archive:
        log = archive.extractfile("etc/log-of-apt")
        assert log is not None
        assert b"apt-get update\napt-get install --yes --no-install-recommends libgl1\n" == log.read()


@SLOW
def test_the_configuration_is_that_of_every_image(image: Image) -> None:
    found = settings(image)
    assert ["/opt/venv/bin/func", "serve"] == found["Entrypoint"]
    assert ("65532:65532", "/app") == (found["User"], found["WorkingDir"])
    assert "io.buildah.version" not in found["Labels"]
    assert [layer.diff_id for layer in image.layers] == json.loads(image.config)["rootfs"]["diff_ids"]


@SLOW
def test_the_same_again_is_the_same(image: Image, recipe: Recipe, store: Store, buildah: Buildah) -> None:
    assert image.descriptor == build_with_containerfile(recipe, store, env=buildah.env).descriptor


@SLOW
def test_other_code_changes_the_layer_of_the_code_alone(
    image: Image, recipe: Recipe, store: Store, buildah: Buildah
) -> None:
    changed = replace(recipe, code=[entry("app/func.yaml", b"name: other\n")])
    found = build_with_containerfile(changed, store, env=buildah.env)
    old, new = (dict(zip(kinds(one), one.layers, strict=True)) for one in (image, found))
    assert ["code"] == [kind for kind in new if old[kind] != new[kind]]


@SLOW
def test_a_wheel_with_another_hash_is_refused(
    recipe: Recipe, store: Store, buildah: Buildah, capfd: pytest.CaptureFixture[str]
) -> None:
    wheels = [replace(recipe.wheels[0], sha256="0" * 64)]
    with pytest.raises(ToolFailed, match=r"buildah failed with exit code \d+ while building the image"):
        build_with_containerfile(replace(recipe, wheels=wheels), store, env=buildah.env)
    out, err = capfd.readouterr()
    assert "" == out
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in err


# A Containerfile of the project's own


def write_own(recipe: Recipe, text: str) -> Recipe:
    (recipe.folder / "Containerfile").write_text(text)
    return replace(recipe, containerfile="Containerfile", system=())


@SLOW
def test_a_containerfile_of_its_own_is_used_as_it_is(recipe: Recipe, store: Store, buildah: Buildah) -> None:
    text = "ARG UPON_BASE\nFROM ${UPON_BASE}\nCOPY app/ /app/\nENV COLOUR=blue\nUSER 7\nLABEL mine=yes\n"
    own = write_own(recipe, text)
    found = build_with_containerfile(own, store, env=buildah.env)
    assert ["base", "base", "system"] == kinds(found)
    assert ("7", True) == (settings(found)["User"], "COLOUR=blue" in settings(found)["Env"])
    labels = settings(found)["Labels"]
    assert ("yes", "demo") == (labels["mine"], labels["org.opencontainers.image.title"])


@SLOW
def test_another_base_is_refused(recipe: Recipe, store: Store, buildah: Buildah) -> None:
    own = write_own(recipe, "FROM scratch\nCOPY app/ /app/\n")
    with pytest.raises(ProjectError, match=r"is not built on the base .*: begin the Containerfile's last stage"):
        build_with_containerfile(own, store, env=buildah.env)


# Other tools, of which stand-ins pass the work on to buildah


@SLOW
@pytest.mark.parametrize("name", ["podman", "docker"])
def test_other_tools_make_the_same(
    name: str, image: Image, recipe: Recipe, store: Store, buildah: Buildah, tmp_path: Path
) -> None:
    env = stand_in(name, tmp_path, buildah)
    assert image.descriptor == build_with_containerfile(recipe, store, env=env).descriptor


# Running


def tool_of(folder: Path, name: str, script: str) -> dict[str, str]:
    """An environment in which `name` is a shell script, and no other tool is there."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"PATH": str(folder)}


def use(env: Mapping[str, str], folder: Path, timeout: float = 60.0) -> None:
    context = folder / "build"
    context.mkdir(exist_ok=True)
    with find_tool(env).image(context / "Containerfile", context, RUN, timeout):
        pass


def test_the_first_tool_that_is_there(tmp_path: Path) -> None:
    tool_of(tmp_path, "docker", "")
    assert "docker" == find_tool({"PATH": str(tmp_path)}).name
    tool_of(tmp_path, "podman", "")
    assert "podman" == find_tool({"PATH": str(tmp_path)}).name


def test_no_tool_is_there(tmp_path: Path) -> None:
    with pytest.raises(MissingTool, match="neither buildah, podman nor docker is on the PATH: install one"):
        find_tool({"PATH": str(tmp_path)})


def test_what_docker_prints_goes_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    env = tool_of(tmp_path, "docker", "echo no daemon; exit 7")
    with pytest.raises(ToolFailed, match=r"docker failed with exit code 7 .*; `docker info` tells"):
        use(env, tmp_path)
    assert ("", "no daemon\n") == capfd.readouterr()


def test_a_tool_that_is_killed(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match="podman failed with signal SIGKILL while building the image"):
        use(tool_of(tmp_path, "podman", "kill -9 $$"), tmp_path)


def test_a_tool_that_takes_too_long_is_stopped_with_its_children(tmp_path: Path) -> None:
    env = tool_of(tmp_path, "buildah", f"/bin/sleep 600 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(TimeoutError, match="buildah did not end in time while building the image"):
        use(env, tmp_path, timeout=1.0)
    child = int((tmp_path / "child").read_text())
    assert not Path(f"/proc/{child}/exe").exists() or is_zombie(child)


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_passwords_of_registries_do_not_reach_the_tool(tmp_path: Path) -> None:
    env = tool_of(tmp_path, "buildah", f"/usr/bin/env > {tmp_path}/seen; exit 1")
    with pytest.raises(ToolFailed):
        use({**env, "UPON_REGISTRY_PASSWORD": "hunter2", "KEPT": "yes"}, tmp_path)
    seen = (tmp_path / "seen").read_text()
    assert ("hunter2" in seen, "KEPT=yes" in seen) == (False, True)


def test_a_registry_on_this_machine_is_read_without_tls(tmp_path: Path) -> None:
    tool = find_tool(tool_of(tmp_path, "buildah", ""))
    local = replace(RUN, base="127.0.0.1:5000/python@sha256:0")
    assert [False, True] == [
        "--tls-verify=false" in tool.build_command(tmp_path, tmp_path, tmp_path, run) for run in (RUN, local)
    ]


def test_isolation_is_a_chroot_unless_the_person_says_otherwise(tmp_path: Path) -> None:
    env = tool_of(tmp_path, "buildah", "")
    assert "chroot" in find_tool(env).build_command(tmp_path, tmp_path, tmp_path, RUN)
    told = find_tool({**env, "BUILDAH_ISOLATION": "oci"})
    assert "chroot" not in told.build_command(tmp_path, tmp_path, tmp_path, RUN)


# Reading


def write_image(folder: Path, *, diff_id: str | None = None) -> Path:
    """An image of one layer, as buildah writes it."""
    folder.mkdir()
    tar = b"\0" * 1024
    digest = diff_id or digest_of(tar)
    config = json.dumps({"rootfs": {"diff_ids": [digest]}, "config": {}}).encode()
    for content, name in ((tar, digest), (config, digest_of(config))):
        (folder / name.removeprefix("sha256:")).write_bytes(content)
    manifest = {"config": {"digest": digest_of(config)}, "layers": [{"digest": digest}]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


EMPTY = Base("scratch", digest_of(b""), "linux/amd64", {}, ())


def test_a_layer_that_is_not_what_it_is_called(tmp_path: Path) -> None:
    made = write_image(tmp_path / "image", diff_id="sha256:" + "0" * 64)
    store = Store(tmp_path / "store")
    with pytest.raises(UnreadableImage, match="and calls it sha256:000"):
        read_built(made, EMPTY, store, [], None)
    assert None is store.find("sha256:" + "0" * 64)


def test_a_layer_over_the_limit(tmp_path: Path) -> None:
    made = write_image(tmp_path / "image")
    with pytest.raises(ProjectError, match=r"'step 1 of the Containerfile' has 1Ki, and build.maxLayerSize"):
        read_built(made, EMPTY, Store(tmp_path / "store"), [], 1000)


def test_no_image_at_all(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="can't be read: FileNotFoundError"):
        read_built(tmp_path, EMPTY, Store(tmp_path / "store"), [], None)
