"""A real buildah for tests: the machine's own, or Debian's, fetched once and not installed; and a base with a shell.

Debian's needs a library beside it, and forgets LD_LIBRARY_PATH where it starts itself again: so it gets a mount
namespace of its own with another list of libraries, which takes root.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pip
import pytest

from support.registry import RealRegistry
from support.rootfs import Base, base_layer, push_base
from support.servers import Unavailable, libraries, unpacked

APT = '#!/bin/sh\necho "apt-get $*" >> /etc/log-of-apt\n'
BUSYBOX = ("sh", "rm", "env", "mkdir", "cat")
REMEDY = "apt-get install -y buildah"


@dataclass(frozen=True)
class Buildah:
    """env: for what runs buildah, which is on its PATH; its images lie in a folder of the tests' own."""

    env: Mapping[str, str]

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            ["buildah", *arguments], env=self.env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def made_ready(folder: Path) -> Buildah:
    """buildah with its storage below the folder. Raises Unavailable."""
    home, bin = folder / "home", folder / "bin"
    (home / ".config/containers").mkdir(parents=True)
    bin.mkdir()
    (home / ".config/containers/policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    (home / ".config/containers/registries.conf").write_text("")
    env = {**os.environ, "HOME": str(home), "PATH": f"{bin}:{os.environ['PATH']}"}
    if shutil.which("buildah") is None:
        _wrap(unpacked("buildah"), bin / "buildah", folder)
    for driver in ("overlay", "vfs"):
        storage = folder / f"{driver}.conf"
        places = f'graphroot = "{folder}/{driver}"\nrunroot = "{folder}/{driver}-run"\n'
        storage.write_text(f'[storage]\ndriver = "{driver}"\n{places}')
        found = Buildah({**env, "CONTAINERS_STORAGE_CONF": str(storage)})
        tried = subprocess.run(["buildah", "info"], env=found.env, capture_output=True, text=True, timeout=60)
        if tried.returncode == 0:
            return found
    raise Unavailable(f"buildah does not run here ({tried.stderr.strip()[-200:]}): {REMEDY}")


def _wrap(root: Path, script: Path, folder: Path) -> None:
    if os.geteuid() != 0:
        raise Unavailable(f"no buildah here, and Debian's runs from a folder for root only: {REMEDY}")
    listed, cache = folder / "ld.conf", folder / "ld.cache"
    listed.write_text(libraries(root)["LD_LIBRARY_PATH"].replace(":", "\n") + "\ninclude /etc/ld.so.conf\n")
    subprocess.run(["/sbin/ldconfig", "-X", "-C", cache, "-f", listed], check=True, capture_output=True, timeout=60)
    inner = 'mount --bind "$0" /etc/ld.so.cache && exec "$@"'
    script.write_text(
        "#!/bin/sh\n"
        f"export CONTAINERS_CONF={root}/usr/share/containers/containers.conf\n"
        f"exec unshare --mount sh -c '{inner}' {cache} {root}/usr/bin/buildah \"$@\"\n"
    )
    script.chmod(0o755)


@pytest.fixture(scope="session")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Buildah:
    try:
        return made_ready(tmp_path_factory.mktemp("buildah"))
    except Unavailable as error:
        pytest.skip(str(error))


def tools_layer() -> bytes:
    """A shell, pip, and an apt-get that only writes down how it was called. Raises Unavailable."""
    (busybox,) = unpacked("busybox-static").glob("**/bin/busybox")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(busybox, "usr/bin/busybox", filter=_clean)
        for name in BUSYBOX:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "/usr/bin/busybox"
            archive.addfile(link)
        apt = tarfile.TarInfo("usr/bin/apt-get")
        apt.size, apt.mode = len(APT), 0o755
        archive.addfile(apt, io.BytesIO(APT.encode()))
        archive.add(Path(pip.__file__).parent, "usr/lib/python3/dist-packages/pip", filter=_clean)
    return gzip.compress(out.getvalue(), 1, mtime=0)


def _clean(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return None if "__pycache__" in info.name else info


@pytest.fixture(scope="session")
def shell_base(registry: RealRegistry) -> Base:
    """Python 3.11 on Debian with a shell and pip, in the shared registry."""
    try:
        return push_base(registry.host, "base/shell", base_layer().read_bytes(), tools_layer())
    except Unavailable as error:
        pytest.skip(str(error))
