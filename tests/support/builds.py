"""`func build` in processes of its own, for tests: projects, a cache that the session shares, and what a build said."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from support.func import FUNC, environment, func
from support.registry import RealRegistry
from support.rootfs import Base

ROOT = Path(__file__).parents[2]
TIMEOUT = 240.0  # seconds for one build: the first one of a session fetches packages
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
APP = """
    import upon


    @upon.http("POST /echo")
    def echo(event: upon.Event) -> dict:
        return {"said": event.body.decode()}
"""


@dataclass(frozen=True)
class Built:
    """What a build that went well said on stdout (`said`) and stderr, and how long its process took."""

    said: dict[str, Any]
    stderr: str

    @property
    def digest(self) -> str:
        (found,) = set(DIGEST.findall(str(self.said["image"])))
        return found

    @property
    def pushed_bytes(self) -> int:
        return int(self.said["pushedBytes"])


@dataclass(frozen=True)
class Builder:
    """Builds with one cache, on one base."""

    registry: RealRegistry
    base: Base
    cache: Path
    env: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = tuple(FUNC)

    def arguments(self, repository: str, *more: str) -> list[str]:
        """Of a build and push into this repository under the tag `latest`."""
        image = f"{self.registry.repository(repository)}:latest"
        return ["build", "--image", image, "--push", "--base", self.base.reference, "-o", "json", *more]

    def variables(self, **more: str) -> dict[str, str]:
        """This process's environment with the cache; without what would let user settings in."""
        return environment({"UPON_CACHE": str(self.cache), **self.env, **more})

    def run(self, *arguments: str, cwd: Path, umask: int = 0o022, **env: str) -> subprocess.CompletedProcess[str]:
        """Any command of `func`, to its end."""
        return subprocess.run(
            [*self.command, *arguments],
            cwd=cwd, env=self.variables(**env), capture_output=True, text=True, timeout=TIMEOUT, umask=umask,
        )  # fmt: skip

    def begin(self, *arguments: str, cwd: Path, **env: str) -> subprocess.Popen[str]:
        """The same in the background: the caller ends it. Where the tests themselves are, a shell may have it ignore
        ctrl-C."""
        return subprocess.Popen(
            ["env", "--default-signal=INT", *self.command, *arguments],
            cwd=cwd, env=self.variables(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def build(self, folder: Path, repository: str, *more: str, umask: int = 0o022, **env: str) -> Built:
        """Build and push. Fails the test, with what the command wrote, where it fails."""
        done = self.run(*self.arguments(repository, *more), cwd=folder, umask=umask, **env)
        assert done.returncode == 0, f"exit code {done.returncode}:\n{done.stderr}\n{done.stdout}"
        return Built(json.loads(done.stdout), done.stderr)

    def lock(self, folder: Path, *more: str, **env: str) -> None:
        done = self.run("lock", *more, cwd=folder, **env)
        assert done.returncode == 0, f"exit code {done.returncode}:\n{done.stderr}\n{done.stdout}"

    def reference(self, repository: str) -> str:
        return f"{self.registry.repository(repository)}:latest"


@pytest.fixture(scope="session")
def builder(registry: RealRegistry, base: Base, tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Builds into the shared registry with one cache for the session: take a repository name of your own."""
    return Builder(registry, base, tmp_path_factory.mktemp("upon-cache"))


@pytest.fixture(scope="session")
def small_project(builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A locked project with one function and a model that is no graph; built once. Copy it before you change it."""
    folder = write_small(tmp_path_factory.mktemp("small") / "project")
    builder.lock(folder)
    builder.build(folder, "builds/small")
    return folder


def write_small(folder: Path, *, app: str = APP, more: str = "") -> Path:
    """One function, no model, no dependency of its own."""
    folder.mkdir(parents=True)
    (folder / "func.yaml").write_text(f"specVersion: upon/v1\nname: small\nfunctions: [app.py]\n{dedent(more)}")
    (folder / "app.py").write_text(dedent(app))
    return folder


def copied(project: Path, into: Path) -> Path:
    """The project elsewhere, without what running it leaves behind."""
    return shutil.copytree(project, into, ignore=shutil.ignore_patterns("__pycache__", ".upon"))


def example_in(folder: Path) -> Path:
    """The example of the repository's root, as much of the repository as it is made of."""
    for name in ("examples", "models"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("func.yaml", "func.lock", ".funcignore"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, folder / name)
    return folder


def created_in(folder: Path, template: str = "onnx") -> Path:
    done = func("create", "demo", "--template", template, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "demo"


def settings(folder: Path, text: str) -> None:
    """More lines of func.yaml."""
    with open(folder / "func.yaml", "a") as file:
        file.write(dedent(text))


def make_wheel(folder: Path, name: str, version: str, *, size: int = 100, tag: str = "py3-none-any") -> Path:
    """A package with one module, whose data does not compress. size: bytes of it."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    data = random.Random(f"{name} {version}").randbytes(size)
    files = {
        f"{name}/__init__.py": f'VERSION = "{version}"\n'.encode(),
        f"{name}/data.bin": data,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    record = "".join(f"{path},sha256={_hash(content)},{len(content)}\n" for path, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name_, content in files.items():
            archive.writestr(zipfile.ZipInfo(name_), content)
    return path


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def wheels_alone(cache: Path, into: Path) -> Path:
    """A cache without a layer, which need not fetch the packages again."""
    shutil.copytree(cache / "wheels", into / "wheels", copy_function=os.link)
    return into


def blobs_in(cache: Path) -> dict[str, Path]:
    """The blobs of a cache, by the hash that they are named after."""
    return {path.name: path for path in cache.glob("blobs/sha256/*") if re.fullmatch("[0-9a-f]{64}", path.name)}


def damaged(cache: Path) -> list[str]:
    """The blobs of a cache that are not what their names say."""
    return [name for name, path in blobs_in(cache).items() if name != _sha256(path)]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_times(folder: Path, seconds: int) -> None:
    """The same time for everything below the folder."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (seconds, seconds), follow_symlinks=False)
