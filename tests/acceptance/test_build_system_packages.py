"""`build.builder: dockerfile` from the command line: a real buildah, pushed, read by others, and started."""

from __future__ import annotations

import dataclasses
import json
import signal
import urllib.request
from pathlib import Path

import pytest

from support.buildah import Buildah
from support.buildah import buildah as buildah
from support.buildah import shell_base as shell_base
from support.builds import Builder, write_small
from support.containers import container
from support.readers import Skopeo, Umoci, pulled
from support.rootfs import Base

CONTAINERFILE = "build: {builder: dockerfile, systemPackages: [libgl1], python: '3.11'}\n"


@pytest.fixture(scope="module")
def containerfiles(builder: Builder, shell_base: Base, buildah: Buildah) -> Builder:
    """Builds on a base with a shell, with buildah on the PATH."""
    return dataclasses.replace(builder, base=shell_base, env=buildah.env)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_image_with_system_packages_serves(
    containerfiles: Builder, containers: None, skopeo: Skopeo, umoci: Umoci, tmp_path: Path
) -> None:
    folder = write_small(tmp_path / "project", more=CONTAINERFILE)
    built = containerfiles.build(folder, "system/small")
    image = pulled(skopeo, umoci, containerfiles.reference("system/small"), tmp_path)
    assert "install --yes --no-install-recommends libgl1" in (image.root / "etc/log-of-apt").read_text()
    assert (folder / ".upon/build/Containerfile").is_file()
    assert "STEP" in built.stderr
    with container(image, log=tmp_path / "log") as started:
        started.wait_until_ready()
        assert ["65532"] * 4 == started.status()["Uid"].split()
        with urllib.request.urlopen(f"{started.url}/echo", data=b"hello", timeout=30) as answer:
            assert {"said": "hello"} == json.loads(answer.read())
        assert 0 == started.stop(signal.SIGTERM)
    (folder / "app.py").write_text((folder / "app.py").read_text() + "# a comment\n")
    again = containerfiles.build(folder, "system/small")
    assert ["code"] == [layer["kind"] for layer in again.said["layers"] if layer["pushed"]]


def test_without_a_tool(builder: Builder, tmp_path: Path) -> None:
    folder = write_small(tmp_path / "project", more=CONTAINERFILE)
    (tmp_path / "bin").mkdir()
    done = builder.run(*builder.arguments("system/none"), cwd=folder, PATH=str(tmp_path / "bin"))
    assert 5 == done.returncode, done.stderr
    assert "neither buildah, podman nor docker is on the PATH" in done.stderr
    assert "" == done.stdout


def test_system_packages_need_the_builder(builder: Builder, tmp_path: Path) -> None:
    folder = write_small(tmp_path / "project", more="build:\n  systemPackages: [libgl1]\n")
    done = builder.run("build", cwd=folder)
    assert 2 == done.returncode
    fact = "build.systemPackages is ['libgl1'], and the builder native starts no container"
    assert f"func.yaml:5: {fact}: set build.builder to dockerfile" in done.stderr
