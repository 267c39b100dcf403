"""Programs of others that read images: skopeo, umoci and crane, fetched once and not installed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.servers import CACHE, Unavailable, libraries, unpacked

CRANE = "v0.22.1"
CRANE_MODULE = f"github.com/google/go-containerregistry/cmd/crane@{CRANE}"
TIMEOUT = 120.0  # seconds for one look at an image
BUILD_TIMEOUT = 900.0  # crane is built once, out of many packages


@dataclass(frozen=True)
class Reader:
    """One program and the environment in which it finds its libraries."""

    program: Path
    env: dict[str, str]

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Its standard output. Fails the test, with what it wrote, where it fails."""
        done = subprocess.run(
            [str(self.program), *arguments], env=self.env, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT
        )
        assert done.returncode == 0, f"{self.program.name} {' '.join(arguments)}: {done.stderr or done.stdout}"
        return done.stdout


@dataclass(frozen=True)
class Unpacked:
    """A root file system and the `config` object of the image it came from."""

    root: Path
    config: dict[str, Any]


class Skopeo(Reader):
    """skopeo, over plain http. platform: `linux/amd64`, which it picks out of an index."""

    def inspect(self, reference: str, platform: str = "linux/amd64") -> dict[str, Any]:
        found = json.loads(self._on(platform, "inspect", "--tls-verify=false", f"docker://{reference}"))
        assert isinstance(found, dict)
        return found

    def raw(self, source: str) -> dict[str, Any]:
        """The manifest or index as it is. source: `docker://…` or `oci:…`."""
        found = json.loads(self._on("linux/amd64", "inspect", "--raw", "--tls-verify=false", source))
        assert isinstance(found, dict)
        return found

    def config(self, reference: str, platform: str = "linux/amd64") -> dict[str, Any]:
        """The whole image configuration."""
        found = json.loads(self._on(platform, "inspect", "--config", "--tls-verify=false", f"docker://{reference}"))
        assert isinstance(found, dict)
        return found

    def copy(self, source: str, target: str, platform: str = "linux/amd64") -> None:
        """Every digest is checked on the way. source, target: with their transport, as `docker://…` and `oci:…`."""
        self._on(platform, "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", source, target)

    def _on(self, platform: str, *arguments: str) -> str:
        system, architecture = platform.split("/")
        return self.run("--insecure-policy", "--override-os", system, "--override-arch", architecture, *arguments)


class Umoci(Reader):
    def unpack(self, layout: Path, tag: str, into: Path) -> Path:
        """The root file system of an image in an OCI layout."""
        rootless = [] if os.geteuid() == 0 else ["--rootless"]
        self.run("unpack", *rootless, "--image", f"{layout}:{tag}", str(into))
        return into / "rootfs"


class Crane(Reader):
    def validate(self, reference: str) -> None:
        """Every manifest, configuration and layer is there, and is what its digest and diff_id say."""
        self.run("validate", "--insecure", "--remote", reference)

    def digest(self, reference: str) -> str:
        return self.run("digest", "--insecure", reference).strip()


def pulled(skopeo: Skopeo, umoci: Umoci, reference: str, folder: Path) -> Unpacked:
    """An image out of a registry, unpacked below `folder` for this machine's platform."""
    skopeo.copy(f"docker://{reference}", f"oci:{folder}/layout:latest")
    root = umoci.unpack(folder / "layout", "latest", folder / "bundle")
    config = skopeo.config(reference)["config"]
    return Unpacked(root, config)


def _program(package: str) -> tuple[Path, dict[str, str]]:
    found = shutil.which(package)
    if found is not None:
        return Path(found), dict(os.environ)
    root = unpacked(package)
    return root / "usr/bin" / package, libraries(root)


def built_crane() -> Path:
    """crane, built of its sources once. Raises Unavailable."""
    go = shutil.which("go")
    if go is None:
        raise Unavailable("no crane here, and no Go to build it with: install Go 1.25 or newer")
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "crane.lock", "w") as lock:  # several pytest processes may come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = CACHE / f"crane-{CRANE}"
        if not (folder / "crane").is_file():
            env = {**os.environ, "GOBIN": str(folder), "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
            command = [go, "install", CRANE_MODULE]
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=BUILD_TIMEOUT)
            if done.returncode:
                last = done.stderr.strip().splitlines()[-1:] or ["no output"]
                raise Unavailable(f"crane can't be built ({last[0]}): go install {CRANE_MODULE}")
    return folder / "crane"


@pytest.fixture(scope="session")
def skopeo() -> Skopeo:
    try:
        return Skopeo(*_program("skopeo"))
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def umoci() -> Umoci:
    try:
        return Umoci(*_program("umoci"))
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def crane() -> Crane:
    """Its first use builds it, which takes minutes: the tests that ask for it have a time limit to match."""
    try:
        return Crane(built_crane(), dict(os.environ))
    except Unavailable as error:
        pytest.skip(str(error))
