"""The tools that build Containerfiles: buildah, podman, docker, in this order, whichever is there.

Each builds an image of its own and writes it out, uncompressed where it can: compressing is ours, the same way always.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from upon import UponError
from upon_build.registry.reference import is_loopback

TOOLS = ("buildah", "podman", "docker")
_OURS = "UPON_REGISTRY_"  # logins are for our own client
GRACE = 10.0  # seconds for a tool to end after SIGTERM


class MissingTool(UponError):
    """None of the tools that build Containerfiles is installed; the message names them."""

    def __init__(self) -> None:
        super().__init__(
            "build.builder is 'dockerfile', and neither buildah, podman nor docker is on the PATH: install one, for"
            " instance with `apt-get install buildah`, or set build.builder to native"
        )


class ToolFailed(UponError):
    """The tool ended with an error, which it has told on stderr."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is asked of a tool. tag: the image's name in the tool's own storage; epoch: seconds since 1970."""

    platform: str
    base: str
    tag: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Tool:
    """One of TOOLS. path: the program; env: its environment."""

    name: str
    path: str
    env: Mapping[str, str]

    @contextmanager
    def image(self, containerfile: Path, context: Path, run: Run, timeout: float) -> Iterator[Path]:
        """Build; gives the image as a folder of blobs (buildah, podman) or a tar file (docker) until the block ends.

        What the tool prints goes to stderr. timeout: seconds, for building and writing together. Raises ToolFailed,
        and TimeoutError, after which the tool is ended.
        """
        deadline = time.monotonic() + timeout
        with tempfile.TemporaryDirectory(prefix="image-", dir=context.parent) as name:
            built, out = Path(name, "id"), Path(name, "image")
            self._call(self.build_command(containerfile, context, built, run), deadline, "building the image")
            self._call(self.save_command(built.read_text().strip(), out), deadline, "writing the image out")
            yield out

    def build_command(self, containerfile: Path, context: Path, built: Path, run: Run) -> list[str]:
        """built: the file that takes the image's id."""
        own: dict[str, list[str]] = {
            "buildah": ["--layers", *self._isolation(), *_dated(run), *_plain_http(run)],
            "podman": ["--layers", *self._isolation(), *_dated(run), *_plain_http(run)],
            "docker": ["--build-arg", f"SOURCE_DATE_EPOCH={run.epoch}"],
        }
        return [
            *(self.path, "build", *own[self.name]),
            *("--platform", run.platform, "--build-arg", f"UPON_BASE={run.base}"),
            *("--iidfile", str(built), "--tag", run.tag, "--file", str(containerfile), str(context)),
        ]

    def save_command(self, image: str, out: Path) -> list[str]:
        match self.name:
            case "buildah":
                return [self.path, "push", "--quiet", "--disable-compression", image, f"dir:{out}"]
            case "podman":
                return [self.path, "save", "--quiet", "--format", "docker-dir", "--output", str(out), image]
            case _:
                return [self.path, "save", "--output", str(out), image]

    def _isolation(self) -> list[str]:
        """buildah in a container, or without runc and crun, builds in a chroot alone; BUILDAH_ISOLATION decides."""
        if self.name != "buildah" or self.env.get("BUILDAH_ISOLATION"):
            return []
        return ["--isolation", "chroot"]

    def _call(self, command: Sequence[str], deadline: float, doing: str) -> None:
        env = {**self.env, "DOCKER_BUILDKIT": "1"} if self.name == "docker" else dict(self.env)
        # 2 and not sys.stderr: standard output is for the command's own result, and may be JSON
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2, env=env, start_new_session=True)
        try:
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            message = f"{self.name} did not end in time while {doing}: it was stopped"
            raise TimeoutError(f"{message}; its output above says how far it came") from None
        finally:
            _end(process)
        if code:
            said = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            raise ToolFailed(f"{self.name} failed with {said} while {doing}: its output above says why{_hint(self)}")


def find_tool(env: Mapping[str, str] | None = None) -> Tool:
    """The first of TOOLS that is on the PATH. Raises MissingTool."""
    given = os.environ if env is None else env
    for name in TOOLS:
        path = shutil.which(name, path=given.get("PATH", os.defpath))
        if path is not None:
            return Tool(name, path, {key: value for key, value in given.items() if not key.startswith(_OURS)})
    raise MissingTool


def _dated(run: Run) -> list[str]:
    """The same times in every build, so that unchanged layers stay the same."""
    return ["--timestamp", str(run.epoch)]


def _plain_http(run: Run) -> list[str]:
    """A registry on this machine is spoken to without TLS, as our own client does."""
    return ["--tls-verify=false"] if is_loopback(run.base.partition("/")[0]) else []


def _hint(tool: Tool) -> str:
    if tool.name == "docker":
        return "; `docker info` tells whether its daemon runs"
    return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing of the tool is left, whatever ended us: its children are in its session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
