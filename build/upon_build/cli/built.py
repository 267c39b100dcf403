"""What `func build` says at its end: the image, what was moved and what was not, and how long it took."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from upon_build.image.assembly.assemble import kind_of
from upon_build.registry.progress import shown

if TYPE_CHECKING:
    from upon_build.image.oci import Layer
    from upon_build.image.plan import Built
    from upon_build.registry.push import Pushed
    from upon_build.registry.reference import Reference


@dataclass(slots=True)
class Result:
    """What was done.

    name: the image's, without a tag; pushed: None where nothing was to be; seconds: by stage; notes: for people.
    """

    built: Built
    reference: Reference
    name: str
    seconds: dict[str, float]
    pushed: Pushed | None = None
    output: Path | None = None
    notes: list[str] = field(default_factory=list)
    verified: bool = False

    @property
    def image(self) -> str:
        """The image by its digest."""
        return f"{self.name}@{self.built.digest}"

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        said: dict[str, Any] = {
            "image": self.image,
            "tag": self.reference.tag,
            "platforms": [image.platform for image in self.built.images],
            "pushedBytes": self.pushed.bytes if self.pushed else 0,
            "layers": [self._layer(layer) for layer in self.built.layers],
            "seconds": self.seconds,
            "importSeconds": self.built.import_seconds,
        }
        output = {"output": str(self.output)} if self.output else {}
        return {**said, **output, **({"verified": True} if self.verified else {})}

    def _layer(self, layer: Layer) -> dict[str, Any]:
        return {
            "title": layer.title,
            "kind": kind_of(layer),
            "digest": layer.descriptor.digest,
            "size": layer.descriptor.size,
            "pushed": self.was_pushed(layer),
        }

    def was_pushed(self, layer: Layer) -> bool:
        return self.pushed is not None and layer.descriptor.digest in self.pushed.sent


def show(result: Result, stdout: TextIO, form: str) -> None:
    """form: `text` or `json`."""
    if form == "json":
        click.echo(json.dumps(result.as_dict(), ensure_ascii=False), file=stdout)
        return
    for line in lines(result):
        click.echo(line, file=stdout)


def lines(result: Result) -> list[str]:
    """The same for people."""
    built = result.built
    bases = dict.fromkeys(f"  base    {part.base.name}, Python {part.interpreter.version}" for part in built.parts)
    platforms = ", ".join(image.platform for image in built.images)
    return [
        f"{built.service} for {platforms}",
        *bases,
        *_layers(result),
        *(f"  {note}" for note in result.notes),
        f"  {_times(result.seconds, built.import_seconds)}",
        result.image,
        *_next(result),
    ]


def _layers(result: Result) -> list[str]:
    every = result.built.layers
    size = sum(layer.descriptor.size for layer in every)
    if result.pushed is None:
        return [f"  layers  {len(every)}, {shown(size)}"]
    moved = [layer for layer in every if result.was_pushed(layer)]
    rest = [layer for layer in every if not result.was_pushed(layer)]
    return [
        *(f"  pushed  {layer.title}  {shown(layer.descriptor.size)}" for layer in moved),
        f"  reused  {len(rest)} layers, {shown(sum(layer.descriptor.size for layer in rest))}",
        f"  sent    {shown(result.pushed.bytes)}",
    ]


def _times(seconds: Mapping[str, float], imported: float) -> str:
    told = [f"{name} in {seconds[key]:.2f} s" for key, name in _STAGES.items() if key in seconds]
    return f"{', '.join(told)}; the project's own import took {imported:.2f} s of it"


_STAGES = {"total": "built", "verify": "verified", "write": "written", "push": "pushed", "attach": "documents"}


def _next(result: Result) -> list[str]:
    if result.pushed is None and result.output is None and not result.verified:
        return ["It is in the cache alone: get it out with --push, or with --output image.tar"]
    if result.output is not None and result.output.suffix == ".tar":
        return [f"Load it with `docker load --input {result.output}` or `podman load --input {result.output}`"]
    return []
