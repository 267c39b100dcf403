"""A base image made of Debian's packages alone: Python 3.11 and what it needs, unpacked into one layer.

The layer is made once per set of package versions and kept below ~/.cache/upon.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from support.registry import RealRegistry
from support.servers import CACHE, Unavailable, update_lists

PYTHON = "3.11"
INTERPRETER = "/usr/bin/python3.11"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = (
    *("base-files", "netbase", "tzdata", "media-types", "libc6", "libgcc-s1", "gcc-12-base", "libstdc++6"),
    *("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libssl3", "libffi8", "libexpat1"),
    *("libbz2-1.0", "liblzma5", "zlib1g", "libsqlite3-0", "libuuid1", "libcrypt1", "libnsl2", "libtirpc3"),
)
REMEDY = "use Debian 12, as root or after `apt-get update`"
FORM = 1  # of what is made of the packages; part of the cache's key
USERS = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"
GROUPS = "root:x:0:\nnonroot:x:65532:\n"

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True)
class Base:
    """A base image in a registry, for linux/amd64 and (with the same layer: nothing runs it) linux/arm64."""

    reference: str
    digest: str


def base_layer() -> Path:
    """The root file system as a gzip'ed tar. Raises Unavailable."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise Unavailable(f"no Debian packages to make a base image of: {REMEDY}")
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "base.lock", "w") as lock:  # several pytest processes may come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        listed = _listed()
        key = hashlib.sha256(f"{FORM}\n{listed}".encode()).hexdigest()[:16]
        folder = CACHE / f"base-{key}"
        if not folder.is_dir():
            _make(folder)
    return folder / "layer.tar.gz"


def _listed() -> str:
    """The packages as apt names them: files with versions, sizes and hashes."""
    said = _apt("--print-uris", cwd=CACHE)
    return "\n".join(sorted(line.split(" ", 1)[1] for line in said.splitlines() if line.startswith("'")))


def _apt(*arguments: str, cwd: Path) -> str:
    """`apt-get download` of the packages, with new lists where the old ones name packages that are gone."""
    command = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *arguments, *PACKAGES]
    for again in (update_lists, None):
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
        if done.returncode == 0:
            return done.stdout
        if again is None or not again():
            break
    last = done.stderr.strip().splitlines()[-1:] or ["no output"]
    raise Unavailable(f"the base image's packages can't be fetched ({last[0]}): {REMEDY}")


def _make(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        part = Path(name)
        root, debs, made = part / "root", part / "debs", part / "made"
        for new in (root, debs, made):
            new.mkdir()
        _apt(cwd=debs)
        for deb in sorted(debs.glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(deb), str(root)], check=True, capture_output=True, timeout=120)
        _finish(root)
        _pack(root, made / "layer.tar.gz")
        made.rename(folder)


def _finish(root: Path) -> None:
    for unneeded in ("doc", "man", "locale", "lintian"):
        shutil.rmtree(root / "usr/share" / unneeded, ignore_errors=True)
    (root / "usr/bin/python3").unlink(missing_ok=True)
    (root / "usr/bin/python3").symlink_to(f"python{PYTHON}")
    for folder in ("etc/ssl/certs", "dev", "proc", "sys", "tmp", "home/nonroot"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.is_file():
        shutil.copy(certificates, root / "etc/ssl/certs")
    (root / "etc/passwd").write_text(USERS)
    (root / "etc/group").write_text(GROUPS)


def _pack(root: Path, out: Path) -> None:
    """Sorted, owned by root, no times."""

    def clean(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        info.mode = 0o1777 if info.name == "tmp" else info.mode
        return info

    with open(out, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(root.rglob("*")):
                archive.add(path, path.relative_to(root).as_posix(), recursive=False, filter=clean)


def config_of(diff_ids: Sequence[str], *, architecture: str = "amd64", env: Sequence[str] = (), **more: Any) -> bytes:
    """An image configuration as a base has it. more: keys of its `config`."""
    settings = {"Env": [f"PATH={PATH}", *env], "Cmd": ["python3"], **more}
    rootfs = {"type": "layers", "diff_ids": list(diff_ids)}
    history = [{"created_by": "debian packages"}] * len(diff_ids)
    return _json(
        {"architecture": architecture, "os": "linux", "config": settings, "rootfs": rootfs, "history": history}
    )


def push_base(registry: str, repository: str, *layers: bytes, env: Sequence[str] = (), **more: Any) -> Base:
    """Layers as a base image for two architectures, under the tag `latest`. registry: host:port, without a lock.

    more: keys of the image's `config`, as `Entrypoint`.
    """
    target = _Target(f"http://{registry}/v2/{repository}/")
    diff_ids = [digest_of(gzip.decompress(layer)) for layer in layers]
    described = [target.blob(layer, LAYER) for layer in layers]
    manifests = []
    for architecture in ("amd64", "arm64"):
        config = target.blob(config_of(diff_ids, architecture=architecture, env=env, **more), CONFIG)
        said = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": described}
        platform = {"architecture": architecture, "os": "linux"}
        manifests.append({**target.manifest(_json(said), MANIFEST), "platform": platform})
    index = target.manifest(_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}), INDEX, "latest")
    return Base(f"{registry}/{repository}:latest", index["digest"])


def small_layer(files: Mapping[str, str]) -> bytes:
    """A layer of a few text files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(out.getvalue(), mtime=0)


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


class _Target:
    """A repository that takes whatever is pushed: the least of the distribution protocol, apart from the product's."""

    def __init__(self, url: str) -> None:
        self.url = url

    def blob(self, content: bytes, media_type: str) -> dict[str, Any]:
        digest = digest_of(content)
        begun = _send(urljoin(self.url, "blobs/uploads/"), "POST")
        place = urljoin(self.url, begun)
        _send(f"{place}{'&' if '?' in place else '?'}digest={digest}", "PUT", content, "application/octet-stream")
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def manifest(self, content: bytes, media_type: str, tag: str | None = None) -> dict[str, Any]:
        digest = digest_of(content)
        _send(urljoin(self.url, f"manifests/{tag or digest}"), "PUT", content, media_type)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _send(url: str, method: str, content: bytes = b"", media_type: str = "application/octet-stream") -> str:
    request = urllib.request.Request(url, data=content, method=method, headers={"Content-Type": media_type})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.headers.get("Location", ""))


@pytest.fixture(scope="session")
def base(registry: RealRegistry) -> Base:
    """Python 3.11 on Debian, in the shared registry."""
    try:
        layer = base_layer().read_bytes()
    except Unavailable as error:
        pytest.skip(str(error))
    return push_base(registry.host, "base/python", layer)


@pytest.fixture(scope="session")
def base_without_python(registry: RealRegistry) -> Base:
    return push_base(registry.host, "base/empty", small_layer({"etc/os-release": "ID=nothing\n"}))
