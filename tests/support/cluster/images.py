"""What a container runs: a program of this machine for the cluster's own parts, an unpacked image for all others."""

from __future__ import annotations

import json
import re
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

from support.cluster.layers import merge, unpack

MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
LOCAL = re.compile(r"(127\.0\.0\.1:\d+)/([^@:]+)(?::[^@:]+)?[@:]([^@]+)$")


class PullError(Exception):
    """The image can't be had; the message is for the pod's status."""


@dataclass(frozen=True)
class Runnable:
    """root: None for a program of this machine. env: the image's own; user: `65532:65532`."""

    entrypoint: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    root: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0"

    def command(self, command: Sequence[str], arguments: Sequence[str]) -> list[str]:
        """A container's `command` and `args` on top of the image's; a program stands in for any command."""
        if self.root is None:
            return [*self.entrypoint, *command[1:], *arguments]
        if command:
            return [*command, *arguments]
        return [*self.entrypoint, *(arguments or self.arguments)]


class Images:
    """programs: by a pattern of the image's name. Layers are unpacked once; `folder` holds them."""

    def __init__(self, folder: Path, programs: Mapping[str, Runnable]) -> None:
        self._folder = folder
        self._programs = dict(programs)
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def resolve(self, image: str) -> Runnable:
        """What stands behind a name. Raises PullError."""
        for pattern, program in self._programs.items():
            if re.search(pattern, image):
                return program
        match = LOCAL.match(image)
        if match is None:
            raise PullError(f'failed to pull image "{image}": there is a network to 127.0.0.1 alone')
        try:
            return self._pulled(match[1], match[2], match[3])
        except (OSError, KeyError, ValueError, HTTPException, tarfile.TarError) as error:
            raise PullError(f'failed to pull image "{image}": {error}') from None

    def _pulled(self, host: str, repository: str, wanted: str) -> Runnable:
        base = f"http://{host}/v2/{repository}"
        manifest = _json(f"{base}/manifests/{wanted}")
        if "manifests" in manifest:
            digest = next(m["digest"] for m in manifest["manifests"] if m["platform"]["architecture"] == "amd64")
            manifest = _json(f"{base}/manifests/{digest}")
        config = manifest["config"]["digest"]
        said = _json(f"{base}/blobs/{config}")["config"]
        return Runnable(
            tuple(said.get("Entrypoint") or ()),
            tuple(said.get("Cmd") or ()),
            self._root(base, config, [layer["digest"] for layer in manifest["layers"]]),
            dict(item.split("=", 1) for item in said.get("Env") or []),
            said.get("WorkingDir") or "/",
            str(said.get("User") or "0"),
        )

    def _root(self, base: str, config: str, layers: Sequence[str]) -> Path:
        root = self._folder / config.removeprefix("sha256:")[:20]
        with self._locked(config):
            if not root.is_dir():
                part = root.with_suffix(".part")
                part.mkdir(parents=True, exist_ok=True)
                for digest in layers:
                    merge(self._layer(base, digest), part)
                part.rename(root)
        return root

    def _layer(self, base: str, digest: str) -> Path:
        kept = self._folder / "layers" / digest.removeprefix("sha256:")
        with self._locked(digest):
            if not kept.is_dir():
                with urllib.request.urlopen(f"{base}/blobs/{digest}", timeout=60) as answer:
                    unpack(answer, kept)
        return kept

    def _locked(self, digest: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(digest, threading.Lock())


def as_asked(runnable: Runnable, security: Mapping[str, Any]) -> Runnable:
    """With the user of a container's securityContext. Raises ValueError for root where that is forbidden."""
    if runnable.root is None:
        return runnable
    if "runAsUser" in security:
        user = f"{security['runAsUser']}:{security.get('runAsGroup', security['runAsUser'])}"
        runnable = replace(runnable, user=user)
    if security.get("runAsNonRoot") and runnable.user.partition(":")[0] == "0":
        raise ValueError("container has runAsNonRoot and image will run as root")
    return runnable


def _json(url: str) -> dict[str, Any]:
    request = urllib.request.Request(url, headers={"Accept": MANIFESTS})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise ValueError(f"{url.rpartition('/')[2]}: not found" if error.code == 404 else str(error)) from None
    assert isinstance(found, dict)
    return found
