"""Wheels as the layers of a virtual environment: each large one has its own, since most do not change."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upon import UponError
from upon_build.image.layers.layer import make_layer
from upon_build.image.layers.tar import Entry
from upon_build.image.oci import Layer
from upon_build.image.packages.bytecode import check_bytecode, running_python
from upon_build.image.packages.conflicts import WHERE, check_conflicts
from upon_build.image.packages.venv import venv_entries
from upon_build.image.packages.wheel import Environment, wheel_entries

if TYPE_CHECKING:
    from upon_build.image.store import Store
    from upon_build.lock.wheels import Wheel

LARGE = 2**20  # bytes of a wheel; above that it has a layer of its own
MAX_LARGE = 60  # of those layers; a container runtime mounts about 127 in all
THREADS = 8
OWN = "upon"
_VERSION = 1  # of what this package makes of the same wheels


@dataclass(frozen=True, slots=True)
class Group:
    """Wheels that share a layer. skeleton: whether the virtual environment's own files are in it."""

    kind: str
    title: str
    wheels: tuple[Wheel, ...]
    skeleton: bool = False


def package_layers(
    store: Store,
    wheels: Sequence[Wheel],
    own: Wheel | None,
    *,
    python: str,
    interpreter: str,
    bytecode: bool,
    max_size: int,
    mtime: int = 0,
) -> list[Layer]:
    """The layers between the base's and the models', from the store where they were made before.

    own: Upon's wheel from a checkout, where it is not among the others; python: X.Y of the image; interpreter: the
    base's Python, such as `/usr/local/bin/python3.11`; bytecode: compiled ahead of time, by a Python X.Y that runs
    this; max_size: of a layer, in bytes, uncompressed; mtime: of all files, in seconds since 1970.
    Raises ProjectError for wheels that are unsound, too large or in each other's way, and OSError for a full disk.
    """
    where = Environment(python)
    if bytecode:
        check_bytecode(python)
    groups = group_wheels(wheels, own)
    _check(store, groups, where, interpreter)
    stop = threading.Event()

    def make(group: Group) -> Layer:
        return make_layer(
            store,
            _key(group, where, interpreter, bytecode),
            lambda: _until(stop, _entries(group, where, interpreter, bytecode)),
            title=group.title,
            kind=group.kind,
            max_size=max_size,
            where=WHERE,
            mtime=mtime,
        )

    return _in_threads(make, groups, stop)


def group_wheels(wheels: Sequence[Wheel], own: Wheel | None) -> list[Group]:
    """Which wheels share a layer, in the image's order: what changes seldom comes first."""
    ours = [own] if own else [wheel for wheel in wheels if wheel.name == OWN]
    sizes = {wheel: wheel.path.stat().st_size for wheel in wheels if wheel not in ours}
    large = sorted((wheel for wheel in sizes if sizes[wheel] > LARGE), key=lambda wheel: (-sizes[wheel], wheel.name))
    small = [wheel for wheel in sizes if sizes[wheel] <= LARGE]
    alone = large if len(large) <= MAX_LARGE else large[: MAX_LARGE - 1]
    groups = [Group("package", f"{wheel.name} {wheel.version}", (wheel,)) for wheel in _by_name(alone)]
    if len(alone) < len(large):
        rest = large[len(alone) :]
        groups.append(Group("packages", f"{len(rest)} packages", _by_name(rest)))
    groups.append(Group("packages", _title(small), _by_name(small), skeleton=True))
    return groups + [Group("upon", f"upon {wheel.version}", (wheel,)) for wheel in ours]


def _title(small: Sequence[Wheel]) -> str:
    if not small:
        return "virtual environment"
    return f"virtual environment, {len(small)} small package{'s' if len(small) > 1 else ''}"


def _by_name(wheels: Iterable[Wheel]) -> tuple[Wheel, ...]:
    return tuple(sorted(wheels, key=lambda wheel: (wheel.name, wheel.sha256)))


def _key(group: Group, where: Environment, interpreter: str, bytecode: bool) -> str:
    parts = [f"wheels v{_VERSION}", where.root, where.python, *(wheel.sha256 for wheel in group.wheels)]
    parts += [f"bytecode {running_python()}"] if bytecode else []
    parts += [f"skeleton {interpreter}"] if group.skeleton else []
    return "\n".join(parts)


def _entries(group: Group, where: Environment, interpreter: str, bytecode: bool) -> Iterator[Entry]:
    """What is in two wheels, with the same content, is there once."""
    there: set[str] = set()
    if group.skeleton:
        yield from venv_entries(where, interpreter)
    for wheel in group.wheels:
        for entry in wheel_entries(wheel.path, where.python, where.root, bytecode=bytecode):
            if entry.path not in there:
                there.add(entry.path)
                yield entry


def _check(store: Store, groups: Sequence[Group], where: Environment, interpreter: str) -> None:
    """Whether the wheels can live together; remembered, since it reads the directory of each."""
    wheels = _by_name(wheel for group in groups for wheel in group.wheels)
    key = "\n".join([f"conflicts v{_VERSION}", where.root, where.python, *(wheel.sha256 for wheel in wheels)])
    if store.recall(key) is None:
        skeleton = [entry.path for entry in venv_entries(where, interpreter) if entry.kind != "dir"]
        check_conflicts(wheels, where, skeleton)
        store.remember(key, {})


def _until(stop: threading.Event, entries: Iterable[Entry]) -> Iterator[Entry]:
    for entry in entries:
        if stop.is_set():
            raise UponError("another layer failed")
        yield entry


def _in_threads(make: Callable[[Group], Layer], groups: Sequence[Group], stop: threading.Event) -> list[Layer]:
    """The first error stops the others, and is the one that is raised."""
    workers = min(THREADS, os.cpu_count() or 1, len(groups))
    with ThreadPoolExecutor(workers, "layers") as threads:
        futures = [threads.submit(make, group) for group in groups]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = [future for future in futures if future.done() and future.exception() is not None]
            for future in failed[:1]:
                future.result()
            return [future.result() for future in futures]
        finally:
            stop.set()
            threads.shutdown(wait=True, cancel_futures=True)
