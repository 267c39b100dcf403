"""The image's configuration: user, environment, entrypoint, labels and history. It depends on the inputs alone.

`created` is SOURCE_DATE_EPOCH or 1970: the time of the build would give every build another digest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from upon import UsageError
from upon_build.image.assembly.base import Base
from upon_build.image.files.revision import Revision
from upon_build.image.oci import Layer, canonical

USER = "65532:65532"
APP = "/app"
VENV = "/opt/venv"
MANIFEST_PATH = "/opt/upon/manifest.json"
ENTRYPOINT = [f"{VENV}/bin/func", "serve"]
PORT = 8080
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENV = {
    "HOME": "/tmp",
    "XDG_CACHE_HOME": "/tmp/.cache",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "HOST": "0.0.0.0",
    "UPON_MANIFEST": MANIFEST_PATH,
    "UPON_STATE_DIR": "/tmp/.upon",
}
_GPU_ENV = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
# Variables of the base that would let another Python, or other packages, in.
_DROPPED_ENV = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
_KEPT = ("Volumes",)  # of the base's own settings; its Cmd, Entrypoint, Healthcheck and OnBuild are another program's


@dataclass(frozen=True, slots=True)
class Facts:
    """What the labels say. models: as `{"name", "path", "sha256", "size", "license"}`; epoch: seconds since 1970."""

    service: str
    manifest_digest: str
    functions: Sequence[str] = ()
    models: Sequence[Mapping[str, Any]] = ()
    revision: Revision = Revision()  # noqa: RUF009 - frozen
    version: str = ""
    licenses: str = ""
    gpu: bool = False
    epoch: int = 0


def read_epoch(env: Mapping[str, str] = os.environ) -> int:
    """SOURCE_DATE_EPOCH in seconds since 1970, or 0. Raises UsageError for anything else."""
    text = env.get("SOURCE_DATE_EPOCH", "") or "0"
    if not (text.isascii() and text.isdigit()) or int(text) >= 2**33:
        raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}: it must be whole seconds since 1970, or not set")
    return int(text)


def make_config(base: Base, layers: Sequence[Layer], facts: Facts) -> bytes:
    """The configuration's bytes. layers: ours, above the base's."""
    created = datetime.fromtimestamp(facts.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    below = base.config.get("config") or {}
    value = {
        **{key: base.config[key] for key in ("architecture", "os", "variant", "os.version") if base.config.get(key)},
        "created": created,
        "config": {
            **{key: below[key] for key in _KEPT if below.get(key)},
            "User": USER,
            "Env": [f"{name}={value}" for name, value in _environment(base, facts).items()],
            "Entrypoint": ENTRYPOINT,
            "WorkingDir": APP,
            "ExposedPorts": {f"{PORT}/tcp": {}},
            "StopSignal": "SIGTERM",
            "Labels": {**_inherited(below.get("Labels") or {}), **labels(base, facts, created)},
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in (*base.layers, *layers)]},
        "history": [*_history(base), *(_step(layer, created) for layer in layers)],
    }
    return canonical(value)


def labels(base: Base, facts: Facts, created: str) -> dict[str, str]:
    """The labels that say something; an annotation that nothing is known for is left out."""
    said = {
        "org.opencontainers.image.title": facts.service,
        "org.opencontainers.image.source": facts.revision.source,
        "org.opencontainers.image.revision": facts.revision.commit,
        "org.opencontainers.image.version": facts.version,
        "org.opencontainers.image.licenses": facts.licenses,
        "org.opencontainers.image.created": created,
        **base_annotations(base),
        "dev.upon.manifest": facts.manifest_digest,
        "dev.upon.functions": canonical(sorted(facts.functions)).decode(),
        "dev.upon.models": canonical(sorted(facts.models, key=lambda model: str(model["name"]))).decode(),
    }
    return {name: value for name, value in said.items() if value}


def base_annotations(base: Base) -> dict[str, str]:
    """Which image is below, on the manifest as well as in the labels."""
    return {"org.opencontainers.image.base.name": base.name, "org.opencontainers.image.base.digest": base.digest}


def _environment(base: Base, facts: Facts) -> dict[str, str]:
    below = {name: value for name, value in base.env.items() if name not in _DROPPED_ENV}
    path = {"PATH": f"{VENV}/bin:{below.get('PATH') or _PATH}"}
    return {**below, **path, **_ENV, **(_GPU_ENV if facts.gpu else {})}


def _inherited(said: Mapping[str, str]) -> dict[str, str]:
    """The base's labels, except those that speak of the base as an image."""
    return {name: value for name, value in said.items() if not name.startswith("org.opencontainers.image.")}


def _history(base: Base) -> list[Mapping[str, Any]]:
    """The base's own, where it fits its layers: readers count on one entry for each layer."""
    steps = list(base.config.get("history") or [])
    if sum(not step.get("empty_layer") for step in steps) == len(base.layers):
        return steps
    return [{"created_by": f"{base.name}@{base.digest}"} for _ in base.layers]


def _step(layer: Layer, created: str) -> dict[str, str]:
    return {"created": created, "created_by": f"func build: {layer.title}"}
