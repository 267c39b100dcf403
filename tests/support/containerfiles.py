"""Recipes of small images for a Containerfile, and a tool that stands in for docker."""

from __future__ import annotations

import hashlib
import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from support.buildah import Buildah
from support.builds import make_wheel
from upon_build.image.assembly.base import Base
from upon_build.image.assembly.config import Facts
from upon_build.image.assembly.inspect import Interpreter
from upon_build.image.layers.tar import Entry
from upon_build.image.tooled.containerfile import Recipe
from upon_build.lock.wheels import Wheel

DIGEST = "sha256:" + "b" * 64
BASE_CONFIG = {
    "architecture": "amd64",
    "os": "linux",
    "config": {"Env": ["PATH=/usr/bin:/bin", "LANG=C.UTF-8"]},
    "rootfs": {"type": "layers", "diff_ids": []},
}
BASE = Base("docker.io/library/python:3.11-slim", DIGEST, "linux/amd64", BASE_CONFIG, ())


def recipe_of(folder: Path, **more: Any) -> Recipe:
    """Two packages, one of them large, Upon, a model and a function. more: fields that are otherwise."""
    project = folder / "project"
    project.mkdir(exist_ok=True)
    recipe = Recipe(
        folder=project,
        base=BASE,
        interpreter=Interpreter("/usr/bin/python3.11", "3.11"),
        wheels=[wheel_of(folder, "small", "1.0"), wheel_of(folder, "large", "2.5", size=2**20)],
        own=wheel_of(folder, "upon", "0.1.0"),
        models=[("models/iris.onnx", [entry("app/models/iris.onnx", b"weights")])],
        code=[entry("app/func.yaml", b"name: demo\n"), entry("app/run.sh", b"#!/bin/sh\n", 0o755)],
        manifest=b"{}",
        facts=Facts(service="demo", manifest_digest="sha256:" + "0" * 64),
    )
    return replace(recipe, **more)


def entry(path: str, content: bytes = b"", mode: int = 0o644) -> Entry:
    return Entry(path, mode, "file", len(content), lambda: io.BytesIO(content))


def wheel_of(folder: Path, name: str, version: str, size: int = 100) -> Wheel:
    """A wheel of one module. size: bytes of a file in it that does not compress."""
    path = make_wheel(folder, name, version, size=size)
    return Wheel(path, name, version, hashlib.sha256(path.read_bytes()).hexdigest())


PODMAN = """#!/bin/sh
case $1 in
  build) shift; exec "$BUILDAH" build --isolation chroot "$@" ;;
  save) shift; [ "$1 $2 $3 $4" = "--quiet --format docker-dir --output" ] || exit 99
        exec "$BUILDAH" push --quiet --disable-compression --format v2s2 "$6" "dir:$5" ;;
esac
"""
DOCKER = """#!/bin/sh
case $1 in
  build) shift; exec "$BUILDAH" build --layers --timestamp 0 --isolation chroot --tls-verify=false "$@" ;;
  save) exec "$BUILDAH" push --quiet "$4" "docker-archive:$3" ;;
esac
"""


def stand_in(name: str, folder: Path, buildah: Buildah) -> dict[str, str]:
    """An environment with podman or docker on its PATH, and no buildah: that does the work behind their flags."""
    program = shutil.which("buildah", path=buildah.env["PATH"])
    assert program is not None
    (folder / name).write_text(PODMAN if name == "podman" else DOCKER)
    (folder / name).chmod(0o755)
    return {**buildah.env, "PATH": f"{folder}:/usr/sbin:/sbin:/bin", "BUILDAH": program}
