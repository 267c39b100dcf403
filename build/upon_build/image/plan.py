"""What goes into a build and what comes out of it, as plain data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upon_build.image.assembly.base import Base, Bases
from upon_build.image.assembly.config import Facts
from upon_build.image.assembly.inspect import Interpreter
from upon_build.image.oci import Descriptor, Image, Layer
from upon_build.lock.lockfile import Lock
from upon_build.project import Problem

if TYPE_CHECKING:
    from upon_build.lock.wheels import Wheel


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What the command line says. Each is func.yaml's, or func.lock's, where it is not given.

    base: a preset or a reference, which is not written into func.lock; locked: func.lock is neither made nor changed;
    output: where the image is going to be written, so that it does not get into the next one; warn, tell: take news.
    """

    platforms: Sequence[str] = ()
    base: str | None = None
    python: str | None = None
    bytecode: bool | None = None
    locked: bool = False
    output: Path | None = None
    warn: Callable[[Problem], None] = lambda problem: None
    tell: Callable[[str], None] = lambda line: None
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)


@dataclass(frozen=True, slots=True)
class Part:
    """What an image of one platform is made of. own: Upon's wheel from a checkout; wheels: all the others."""

    platform: str
    base: Base
    interpreter: Interpreter
    wheels: Sequence[Wheel]
    own: Wheel | None


@dataclass(frozen=True, slots=True)
class Built:
    """Images, one for each platform, whose new blobs lie in the store.

    index: the bytes of the index over several images; seconds: of each stage, `total` among them; import_seconds:
    what the import of the project's code took; bases: fetches a base's layers; parameters: of the build, for whoever
    wants to repeat it.
    """

    service: str
    images: tuple[Image, ...]
    parts: tuple[Part, ...]
    top: Descriptor
    index: bytes | None
    lock: Lock
    facts: Facts
    bases: Bases
    seconds: Mapping[str, float]
    import_seconds: float
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of the index where there is one, else of the image's manifest."""
        return self.top.digest

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer once, the bases' included."""
        found = {layer.descriptor.digest: layer for image in self.images for layer in image.layers}
        return tuple(found.values())
