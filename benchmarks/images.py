"""Building and pushing an image: `func build` beside a Containerfile and buildah, into a real registry on this machine.

The project has one function, a model of 3 MB, onnxruntime and numpy. Both builders get the same locked packages and go
through the same steps in turns: nothing there yet, nothing changed, a comment in the code, another version of one
package, another model. Medians count.

    python benchmarks/images.py            about ten minutes; needs root and Debian (buildah comes from there)
    python benchmarks/images.py --quick    one round: whether it runs, not how fast
    python benchmarks/images.py --large    memory with a model of 2 GiB, alone
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bench

ROOT = bench.HERE.parent
PEER = bench.HERE / "peers" / "images"
MODEL = ROOT / "models" / "magika" / "model.onnx"
VERSIONS = ("0.9.0", "0.10.0")  # of the package that changes
STEPS = ("cold", "nothing", "code", "package", "model")
ROUNDS = 3
LIMIT = 600.0  # seconds for one command

# Installed packages have their bytecode; a variable that keeps Python from writing it would time the compiler.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass
class World:
    """A registry with a base, and what runs buildah."""

    registry: Any
    base: str
    buildah: Any


@dataclass
class Side:
    """One builder with a project of its own. env: with a cache that `cold` replaces; repository: likewise."""

    name: str
    folder: Path
    env: dict[str, str]
    repository: str = ""
    changes: int = 0
    caches: list[Path] = field(default_factory=list)


# One step


def prepare(side: Side, step: str, world: World, scratch: Path) -> None:
    """What happens before the clock starts."""
    side.changes += 1
    match step:
        case "cold":
            cache = Path(tempfile.mkdtemp(dir=scratch))
            side.caches.append(cache)
            side.repository = f"bench/{side.name.replace(' ', '-')}-{cache.name.strip('_').lower()}"
            side.env |= fresh_cache(side.name, cache, world.buildah.env)
        case "code":
            with (side.folder / "app.py").open("a") as file:
                file.write(f"# change {side.changes}\n")
        case "package":
            version = VERSIONS[side.changes % 2]
            if f"tabulate=={version}" in (side.folder / "requirements.in").read_text():
                version = VERSIONS[(side.changes + 1) % 2]
            (side.folder / "requirements.in").write_text(f"numpy\ntabulate=={version}\n")
        case "model":
            with (side.folder / "models/model.onnx").open("ab") as file:
                file.write(b"\x32\x04%04d" % (side.changes % 10_000))  # another doc_string: the last one counts


def fresh_cache(name: str, cache: Path, env: Mapping[str, str]) -> dict[str, str]:
    if name == "func build":
        return {"UPON_CACHE": str(cache)}
    (cache / "tmp").mkdir()
    storage = cache / "storage.conf"
    old = Path(env["CONTAINERS_STORAGE_CONF"]).read_text()
    driver = old.split('driver = "')[1].split('"')[0]
    storage.write_text(f'[storage]\ndriver = "{driver}"\ngraphroot = "{cache}/graph"\nrunroot = "{cache}/run"\n')
    return {"CONTAINERS_STORAGE_CONF": str(storage), "TMPDIR": str(cache / "tmp")}


def commands(side: Side, world: World) -> list[list[str]]:
    image = f"{world.registry.host}/{side.repository}:latest"
    if side.name == "func build":
        return [[func(), "build", "--image", image, "--push", "--base", world.base, "--locked", "-o", "json"]]
    given = [f"--build-arg={name}={os.environ[name]}" for name in ("PIP_CERT", "PIP_INDEX_URL") if name in os.environ]
    return [
        [
            *("buildah", "build", "--quiet", "--layers", "--isolation", "chroot", "--tls-verify=false", *given),
            *(f"--build-arg=BASE={world.base}", "--tag", image, "."),
        ],
        ["buildah", "push", "--quiet", "--tls-verify=false", image],
    ]


def measured(command: list[str], folder: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """One command to its end: wall and CPU seconds, children included; the largest resident set of one process."""
    with tempfile.TemporaryDirectory() as name:
        result = Path(name, "result")
        watched = [sys.executable, str(bench.HERE / "measure.py"), str(result), *command]
        done = subprocess.run(watched, cwd=folder, env=dict(env), capture_output=True, text=True, timeout=LIMIT)
        if done.returncode:
            raise SystemExit(
                f"{' '.join(command)} ended with {done.returncode}:\n{(done.stderr + done.stdout)[-3000:]}"
            )
        return {**json.loads(result.read_text()), "stdout": done.stdout}


def take(side: Side, step: str, world: World, scratch: Path) -> dict[str, Any]:
    """One step of one builder, the push included."""
    prepare(side, step, world, scratch)
    if step == "package" or (step == "model" and side.name == "func build"):
        relock(side)
    mark = world.registry.mark()
    parts = [measured(command, side.folder, side.env) for command in commands(side, world)]
    found = {
        "wall_s": round(sum(part["wall_s"] for part in parts), 3),
        "cpu_s": round(sum(part["cpu_s"] for part in parts), 3),
        "rss_mib": round(max(part["rss_mib"] for part in parts), 1),
        "pushed_kib": round(sum(world.registry.received(mark).values()) / 1024, 1),
    }
    if side.name == "func build":
        found["import_s"] = json.loads(parts[-1]["stdout"])["importSeconds"]
    return found


# The project


def make_side(name: str, folder: Path, env: Mapping[str, str]) -> Side:
    folder.mkdir()
    (folder / "models").mkdir()
    shutil.copy(MODEL, folder / "models/model.onnx")
    shutil.copy(PEER / "app.py", folder)
    (folder / "func.yaml").write_text("name: bench\nfunctions: [app.py]\nbuild: {python: '3.11'}\n")
    (folder / "requirements.in").write_text(f"numpy\ntabulate=={VERSIONS[0]}\n")
    if name == "buildah":
        shutil.copy(PEER / "Containerfile", folder)
    return Side(name, folder, dict(env))


def relock(side: Side) -> None:
    """func.lock of what requirements.in says; for buildah the same packages with their hashes as requirements.txt.

    The lock is made outside of the measured time, and with the person's own cache of packages' metadata.
    """
    from upon_build.image.store import Store
    from upon_build.lock.lockfile import read_lock
    from upon_build.lock.own import own_wheel

    shutil.copy(side.folder / "requirements.in", side.folder / "requirements.txt")
    env = {name: value for name, value in side.env.items() if name != "UPON_CACHE"}
    measured([func(), "lock"], side.folder, env)
    if side.name == "func build":
        return
    lock = read_lock(side.folder)
    assert lock is not None
    packages = lock.packages_for("linux/amd64")
    lines = [f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n" for package in packages]
    wheel = own_wheel(Store.default()) if lock.upon == "checkout" else None
    if wheel is not None:
        if not (side.folder / wheel.path.name).exists():  # a new time alone would be a change to buildah
            shutil.copy(wheel.path, side.folder)
        lines.append(f"/tmp/build/{wheel.path.name} --hash=sha256:{wheel.sha256}\n")
    (side.folder / "requirements.txt").write_text("".join(lines))


def func() -> str:
    return str(Path(sys.executable).parent / "func")


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """The tests' registry, base and buildah."""
    sys.path.insert(0, str(ROOT / "tests"))
    registries, roots, tools = (
        importlib.import_module(f"support.{name}") for name in ("registry", "rootfs", "buildah")
    )
    for name in ("registry", "buildah"):
        (folder / name).mkdir()
    running = registries.RealRegistry(folder / "registry")
    running.start()
    try:
        layers = (roots.base_layer().read_bytes(), tools.tools_layer())
        base = roots.push_base(running.host, "base/shell", *layers)
        yield World(running, base.reference, tools.made_ready(folder / "buildah"))
    finally:
        running.stop()


# What comes of it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="one round, nothing is written")
    parser.add_argument("--large", action="store_true", help="memory with a large model, and nothing else")
    given = parser.parse_args()
    machine = bench.machine()
    with tempfile.TemporaryDirectory(prefix="upon-bench-", dir=scratch_root()) as name, world(Path(name)) as here:
        if given.large:
            print(json.dumps(large(here, Path(name)), indent=2))
            return
        rounds = compare(here, Path(name), 1 if given.quick else ROUNDS)
        memory = None if given.quick else large(here, Path(name))
    report(rounds, memory, machine)


def scratch_root() -> Path:
    bench.CACHE.mkdir(parents=True, exist_ok=True)
    return bench.CACHE


def compare(here: World, scratch: Path, count: int) -> dict[str, list[dict[str, Any]]]:
    """`STEP, BUILDER` -> one entry a round."""
    sides = [
        make_side("func build", scratch / "upon", ENVIRONMENT),
        make_side("buildah", scratch / "peer", {**here.buildah.env}),
    ]
    rounds: dict[str, list[dict[str, Any]]] = {}
    for side in sides:
        relock(side)
    for number in range(count):
        for step in STEPS:
            for side in sides:
                found = take(side, step, here, scratch)
                rounds.setdefault(f"{step}, {side.name}", []).append(found)
                say(number, f"{step}, {side.name}", found)
        for side in sides:
            shutil.rmtree(side.caches.pop(), ignore_errors=True)
    return rounds


def large(here: World, scratch: Path, gib: int = 2) -> dict[str, Any]:
    """`func build` of a model that compresses to nothing, cold, then after a change of code."""
    side = make_side("func build", scratch / "large", ENVIRONMENT)
    with (side.folder / "models/model.onnx").open("wb") as file:
        for _ in range(gib * 64):
            file.write(os.urandom(2**24))
    relock(side)
    found = {step: take(side, step, here, scratch) for step in ("cold", "code")}
    for step, one in found.items():
        say(0, f"{gib} GiB model, {step}", one)
    return {"model_gib": gib, **found}


def say(number: int, name: str, found: Mapping[str, Any]) -> None:
    imported = f", import {found['import_s']:.2f} s" if "import_s" in found else ""
    print(
        f"round {number + 1}  {name:24} {found['wall_s']:7.2f} s{imported:16}  {found['cpu_s']:6.2f} s of CPU "
        f"{found['rss_mib']:6.0f} MiB {found['pushed_kib']:10,.1f} KiB pushed",
        flush=True,
    )


def report(rounds: Mapping[str, list[dict[str, Any]]], memory: Any, machine: dict[str, Any]) -> None:
    keys = ("wall_s", "cpu_s", "rss_mib", "pushed_kib")
    medians = {name: {key: round(bench.median(every, key), 3) for key in keys} for name, every in rounds.items()}
    for name, every in rounds.items():
        if "import_s" in every[0]:
            medians[name]["import_s"] = round(bench.median(every, "import_s"), 3)
    for name, found in medians.items():
        print(f"{name:24} {found}")
    if memory is None:
        return
    bars = {name: found["wall_s"] * 1000 for name, found in medians.items()}
    versions = {**bench.versions(sys.executable, "upon", "isal", "urllib3", "uv"), "buildah": tool_version()}
    result = {"machine": machine, "versions": versions, "median": medians, "large": memory, "rounds": dict(rounds)}
    bench.save("images", result, bars, "Milliseconds", "Build and push an image, whole commands")


def tool_version() -> str:
    sys.path.insert(0, str(ROOT / "tests"))
    with tempfile.TemporaryDirectory() as name:
        found = importlib.import_module("support.buildah").made_ready(Path(name))
        return str(found.run("--version")).split()[2]


if __name__ == "__main__":
    main()
