"""Upon's own wheel, built from the checkout that runs, and kept by the hash of what goes into it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from upon import MissingExtra, UponError
from upon_build.lock.indexes import Indexes
from upon_build.lock.ours import find_ours
from upon_build.lock.repack import repack
from upon_build.lock.requirement import hide_credentials
from upon_build.lock.wheels import Wheel, wheel_path
from upon_build.project.problems import fail

if TYPE_CHECKING:
    from upon_build.image.store import Store

ROOTS = ("functions/upon", "runtime/upon_runtime", "triggers/upon_triggers", "build/upon_build")
FILES = ("pyproject.toml", "README.md", "LICENSE", ".gitignore")
TIMEOUT = 180.0  # seconds
EPOCH = "315532800"  # 1980: a zip knows no earlier time
_VERSION = 2


def own_wheel(store: Store) -> Wheel:
    """The wheel of the checkout that this process runs from; the tree stays as it is.

    Raises ProjectError for an installed release, which has no sources, and UponError where the build fails.
    """
    ours = find_ours()
    if ours.checkout is None:
        raise fail("func.lock", "it says upon = 'checkout', and this Upon is an installed release", "run `func lock`")
    return build_wheel(ours.checkout, ours.version, store)


def build_wheel(checkout: Path, version: str, store: Store) -> Wheel:
    """The same for any folder with Upon's sources."""
    for _ in range(3):  # an editor may write in the middle of it
        key = _key(checkout)
        known = _recall(store, key, version)
        if known is not None:
            return known
        built = _build(checkout, version, store)
        if _key(checkout) == key:
            store.remember(key, {"file": built.path.name, "sha256": built.sha256, "version": built.version})
            return built
    raise UponError(f"{checkout} changes while Upon's wheel is built: build again when nothing writes there")


def _key(checkout: Path) -> str:
    """What goes into the wheel: names, whether executable, and contents."""
    found = hashlib.sha256()
    for path in _sources(str(checkout)):
        with open(path, "rb", buffering=0) as file:
            content = file.read()
            executable = os.fstat(file.fileno()).st_mode & 0o100
        found.update(f"{path[len(str(checkout)) :]}\0{executable}\0{len(content)}\0".encode())
        found.update(content)
    return f"own wheel v{_VERSION}: {found.hexdigest()}"


def _sources(checkout: str) -> Iterator[str]:
    """Every file, in an order of its own; as texts, since this is asked at every build."""
    yield from (path for name in FILES if os.path.isfile(path := f"{checkout}/{name}"))
    for root in ROOTS:
        for folder, folders, files in os.walk(f"{checkout}/{root}"):
            folders[:] = sorted(one for one in folders if one != "__pycache__")
            yield from (f"{folder}/{file}" for file in sorted(files) if not file.endswith(".pyc"))


def _recall(store: Store, key: str, version: str) -> Wheel | None:
    known = store.recall(key)
    if known is None:
        return None
    path = wheel_path(store, known["sha256"], known["file"])
    return Wheel(path, "upon", known.get("version", version), known["sha256"]) if path.is_file() else None


def _build(checkout: Path, version: str, store: Store) -> Wheel:
    scratch = store.folder / "wheels"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".own-", dir=scratch) as folder:
        _run(_command(Path(folder)), checkout)
        built = next(Path(folder).glob("*.whl"), None)
        if built is None:
            raise UponError(f"the build of Upon's wheel in {checkout} made none")
        packed = Path(folder) / "packed"
        sha256 = repack(built, packed)
        target = wheel_path(store, sha256, built.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        packed.replace(target)
    return Wheel(target, "upon", built.name.split("-")[1], sha256)


def _command(folder: Path) -> list[str]:
    """hatchling where it is installed: it needs no network."""
    if find_spec("hatchling") is not None:
        return [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    try:
        import uv
    except ImportError:
        raise MissingExtra("building Upon's wheel", "deploy") from None
    return [uv.find_uv_bin(), "build", "--wheel", "--no-config", "--quiet", "--out-dir", str(folder)]


def _run(command: list[str], checkout: Path) -> None:
    env = {
        **os.environ,
        **Indexes.from_env().for_uv(),
        "SOURCE_DATE_EPOCH": EPOCH,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        done = subprocess.run(
            command, cwd=checkout, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise UponError(f"Upon's wheel was not built within {TIMEOUT:g} s") from None
    if done.returncode != 0:
        said = hide_credentials((done.stderr or done.stdout).strip())[-2000:]
        raise UponError(f"the build of Upon's wheel in {checkout} failed; pip install hatchling may help:\n{said}")
