"""Newer Pythons of this machine, each with this checkout of Upon installed for editing, made once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from support.servers import CACHE

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.12", "3.13", "3.14")
EXTRAS = "cpu,serve,kafka,deploy"


def interpreter(version: str) -> Path | None:
    """Python X.Y of this machine: on the path, or one of pyenv's; never the one that runs the tests."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return None
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [*sorted(pyenv.glob(f"{version}.*/bin/python{version}")), shutil.which(f"python{version}")]
    return next((Path(one) for one in found if one and _starts(one)), None)


def _starts(program: Path | str) -> bool:
    """pyenv puts a script into the path even for versions that are not chosen."""
    return subprocess.run([program, "-c", ""], capture_output=True, timeout=60).returncode == 0


def others_here() -> list[str]:
    return [version for version in VERSIONS if interpreter(version)]


def other_python(version: str) -> Path:
    """Its interpreter in a virtual environment with Upon, made of this checkout and its dependencies once."""
    import uv

    found = interpreter(version)
    assert found is not None
    CACHE.mkdir(parents=True, exist_ok=True)
    # The promise of equal digests is for one version of the compressor.
    wanted = [f"{ROOT}[{EXTRAS}]", f"isal=={metadata.version('isal')}", (ROOT / "pyproject.toml").read_text()]
    folder = CACHE / f"python-{version}-{hashlib.sha256(f'{ROOT} {found}'.encode()).hexdigest()[:12]}"
    with open(CACHE / f"python-{version}.lock", "w") as lock:  # several pytest processes may come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / "made"
        if not made.is_file() or made.read_text() != "\n".join(wanted):
            program = str(uv.find_uv_bin())
            _run(program, "venv", "--quiet", "--allow-existing", "--python", str(found), str(folder))
            _run(program, "pip", "install", "--quiet", "--python", str(folder / "bin/python"), "-e", *wanted[:2])
            made.write_text("\n".join(wanted))
    return folder / "bin/python"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
