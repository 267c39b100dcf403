"""`build.builder: dockerfile`: the same image by a Containerfile and buildah, podman or docker, for system packages.

The Containerfile and all that it copies lie in `.upon/build`, so that a person can read it, and run the tool by hand.
What the tool makes of it is taken apart into layers again: configuration, labels, signature and push are the same for
every builder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upon_build.image.assembly.assemble import assemble
from upon_build.image.assembly.config import APP, ENTRYPOINT, MANIFEST_PATH, PORT, USER, VENV, Facts, make_config
from upon_build.image.assembly.inspect import Interpreter
from upon_build.image.oci import Image
from upon_build.project.problems import fail
from upon_build.registry.reference import parse_reference

if TYPE_CHECKING:
    from upon_build.image.assembly.base import Base
    from upon_build.image.layers.tar import Entry
    from upon_build.image.store import Store
    from upon_build.lock.wheels import Wheel

CONTEXT = ".upon/build"  # below the project's folder
NAME = "Containerfile"
LARGE = 2**20  # bytes; a wheel file above that gets a step of its own, as with the native builder
TIMEOUT = 3600.0  # seconds
_PIN = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+ --hash=sha256:[0-9a-f]{64}")
_HEAD = """\
# Written by `func build` from func.yaml and func.lock, anew each time. To change it, copy it beside func.yaml and name
# the copy there: build.containerfile. It builds in {context}: `podman build {context}`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an image is made of.

    folder: of func.yaml. wheels: the locked ones, own: Upon's from a checkout. models: each with its path and entries.
    manifest: the bytes of ours. system: Debian packages. containerfile: the project's own, relative to folder.
    max_size: bytes of a layer, uncompressed.
    """

    folder: Path
    base: Base
    interpreter: Interpreter
    wheels: Sequence[Wheel]
    own: Wheel | None
    models: Sequence[tuple[str, Iterable[Entry]]]
    code: Iterable[Entry]
    manifest: bytes
    facts: Facts
    system: Sequence[str] = ()
    containerfile: str | None = None
    bytecode: bool = False
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One layer of the image. kind: as the layer is annotated; title: for people; lines: of the Containerfile."""

    kind: str
    title: str
    lines: str


def build_with_containerfile(
    recipe: Recipe,
    store: Store,
    *,
    annotations: Mapping[str, str] = {},
    env: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> Image:
    """Write `.upon/build`, run the tool with its output on stderr, and read the image back into the store.

    env: for the tool, its PATH finds it; by default this process's. timeout: seconds for the whole run of the tool.
    Raises ProjectError for a Containerfile that is not there or is built on another base, MissingTool, ToolFailed,
    and TimeoutError.
    """
    from upon_build.image.tooled.built import read_built
    from upon_build.image.tooled.context import own_containerfile, prepare
    from upon_build.image.tooled.tools import Run, find_tool

    own = own_containerfile(recipe.folder, recipe.containerfile)
    tool = find_tool(env)
    steps = steps_of(recipe)
    context = prepare(recipe, containerfile(recipe, steps))
    run = Run(platform=recipe.base.platform, base=pinned(recipe.base), tag=_tag(recipe), epoch=recipe.facts.epoch)
    with tool.image(own or context / NAME, context, run, timeout) as made:
        built = read_built(made, recipe.base, store, [] if own else steps, recipe.max_size)
    config = make_config(recipe.base, built.layers, recipe.facts)
    if own:
        config = built.merged(config)
    return assemble(recipe.base, built.layers, config, annotations=annotations)


def steps_of(recipe: Recipe) -> list[Step]:
    """The layers above the base, ordered by how seldom they change."""
    packages = [wheel for wheel in recipe.wheels if wheel.name != "upon"]
    upon = [wheel for wheel in recipe.wheels if wheel.name == "upon"]
    large = [wheel for wheel in packages if wheel.path.stat().st_size > LARGE]
    small = [wheel for wheel in packages if wheel not in large]
    steps = [_system(recipe.system)] if recipe.system else []
    steps.append(Step("system", "virtual environment", f"RUN {recipe.interpreter.path} -m venv --without-pip {VENV}"))
    steps += [_install("package", f"{wheel.name} {wheel.version}", [wheel]) for wheel in _by_name(large)]
    if small:
        steps.append(_install("packages", f"{len(small)} small packages", _by_name(small)))
    own = [recipe.own] if recipe.own else upon
    steps += [_install("upon", f"upon {wheel.version}", [wheel]) for wheel in own]
    steps += [Step("model", path, f"COPY models/{model_folder(path)}/ {APP}/") for path, _ in recipe.models]
    steps.append(Step("code", "code", f"COPY app/ {APP}/"))
    steps.append(Step("manifest", "manifest", f"COPY manifest.json {MANIFEST_PATH}"))
    return steps


def containerfile(recipe: Recipe, steps: Sequence[Step]) -> str:
    """The Containerfile's text."""
    parts = [
        _HEAD.format(context=CONTEXT),
        f"# {recipe.base.name}, Python {recipe.interpreter.version}",
        f"ARG UPON_BASE={pinned(recipe.base)}",
        "FROM ${UPON_BASE}",
        "USER 0",
        _environment(recipe),
        f'ARG INSTALL="{_installer(recipe)}"\n',
        *(f"{step.lines}\n" for step in steps),
        f"WORKDIR {APP}",
        f"EXPOSE {PORT}",
        f"USER {USER}",
        f"ENTRYPOINT [{', '.join(map(_quoted, ENTRYPOINT))}]",
    ]
    return "\n".join(parts) + "\n"


def pinned(base: Base) -> str:
    """The base by its digest alone: buildah and podman take no tag beside one."""
    return str(parse_reference(base.name).at(base.digest))


def model_folder(path: str) -> str:
    """The name of a model's folder in the context."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", path)


def _tag(recipe: Recipe) -> str:
    """In the tool's own storage: what it makes keeps this name, so that its cache outlives a clean-up."""
    return f"localhost/upon/{recipe.facts.service}:{recipe.base.platform.replace('/', '-')}"


def _by_name(wheels: Iterable[Wheel]) -> list[Wheel]:
    return sorted(wheels, key=lambda wheel: wheel.name)


def _system(packages: Sequence[str]) -> Step:
    listed = "".join(f"      {package} \\\n" for package in packages)
    lines = (
        "RUN apt-get update \\\n"
        " && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \\\n"
        f"{listed}"
        " && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache"
        " /var/log/*"
    )
    return Step("system", f"system packages: {' '.join(packages)}", lines)


def _install(kind: str, title: str, wheels: Sequence[Wheel]) -> Step:
    """The hashes stand in the command: buildah's cache looks at that, and not at what is mounted."""
    pins = " \\\n      ".join(f"'{_pin(wheel)}'" for wheel in wheels)
    mounted = "RUN --mount=type=bind,source=wheels,target=/wheels"
    return Step(kind, title, f"{mounted} \\\n    printf '%s\\n' \\\n      {pins} \\\n    | $INSTALL")


def _pin(wheel: Wheel) -> str:
    pin = f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}"
    if not _PIN.fullmatch(pin):  # it goes into a shell's command
        raise fail("func.lock", f"{pin!r} is not a package, its version and its hash", "run `func lock`")
    return pin


def _installer(recipe: Recipe) -> str:
    """From the mounted folder and nowhere else, past whatever the base's pip is configured to."""
    dated = f"env SOURCE_DATE_EPOCH={recipe.facts.epoch} " if recipe.bytecode else ""
    return (
        f"{dated}{recipe.interpreter.path} -m pip --isolated --disable-pip-version-check --python {VENV}/bin/python"
        " install --no-index --find-links /wheels --require-hashes --no-deps --no-cache-dir --root-user-action ignore"
        f" --{'' if recipe.bytecode else 'no-'}compile --requirement /dev/stdin"
    )


def _environment(recipe: Recipe) -> str:
    """Variables that differ from the base's. They come first, so that pip and venv leave no bytecode in the base."""
    below = recipe.base.env
    pairs = (pair.partition("=") for pair in _config(recipe)["Env"])
    lines = [f"{name}={_quoted(value)}" for name, _, value in pairs if below.get(name) != value]
    return "ENV " + " \\\n    ".join(lines)


def _config(recipe: Recipe) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(make_config(recipe.base, (), recipe.facts))["config"]
    return config


def _quoted(text: str) -> str:
    return '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'
