"""An unpacked image started as a container runtime would start it, with util-linux alone.

Own mount, pid, ipc and uts namespaces, a read-only root, /proc, a minimal /dev, an empty /tmp in memory, the image's
user, environment, folder and entrypoint, no capabilities, no new privileges; the network is this machine's.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.guard import Guard
from support.readers import Unpacked
from support.servers import free_port

START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0

# /proc, /dev and /tmp are mounts on a root that is then made read-only; `exec` keeps the first process the image's own.
SETUP = """
set -e; root=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom; do touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
mkdir -m 1777 "$root/dev/shm"; mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -o remount,bind,ro "$root"
exec "$PYTHON" -I -c "$ENTER" "$root" "$@"
"""
# The kernel forgets at a change of user that this process is to die with its parent: it is told again.
ENTER = """
import ctypes, json, os, sys
root, uid, gid, folder, env, *argv = sys.argv[1:]
PDEATHSIG, CAPBSET_DROP, NO_NEW_PRIVS = 1, 24, 38
prctl = ctypes.CDLL(None).prctl
os.chroot(root)
os.chdir(folder)
for capability in range(64):
    prctl(CAPBSET_DROP, capability, 0, 0, 0)
os.setgroups([])
os.setresgid(int(gid), int(gid), int(gid))
os.setresuid(int(uid), int(uid), int(uid))
prctl(PDEATHSIG, 9, 0, 0, 0)
prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
os.execve(argv[0], argv, json.loads(env))
"""
NAMESPACES = ("--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--propagation", "private")


class Container:
    """A started image. url: where it serves."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self._log = log

    @property
    def stderr(self) -> str:
        """What it wrote so far, to either stream."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its first process, as this machine numbers it."""
        (found,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(found)

    def status(self) -> dict[str, str]:
        """The kernel's word on its first process: `Uid`, `CapEff`, `NoNewPrivs` and more."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> None:
        deadline = time.monotonic() + timeout
        while not self._is_ready():
            ended = self.process.poll()
            assert ended is None, f"ended with {ended} before it was ready:\n{self.stderr}"
            assert time.monotonic() < deadline, f"not ready within {timeout} s:\n{self.stderr}"
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health/readiness", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self, number: int = signal.SIGTERM, timeout: float = STOP_TIMEOUT) -> int:
        """The signal goes to the container's first process, as a runtime sends it; returns the exit code."""
        os.kill(self.pid, number)  # unshare itself does not pass signals on
        return self.process.wait(timeout)

    def kill(self) -> None:
        """The first process takes all others with it."""
        with suppress(OSError, ValueError, subprocess.TimeoutExpired):  # it has ended, or not begun
            os.kill(self.pid, signal.SIGKILL)
            self.process.wait(STOP_TIMEOUT)
        self.process.kill()
        self.process.wait(STOP_TIMEOUT)


@contextmanager
def container(image: Unpacked, *, log: Path, **env: str) -> Iterator[Container]:
    """The image, started; its end is the end of everything in it. env: added to the image's own."""
    port = free_port()
    with open(log, "wb") as out:
        process = subprocess.Popen(
            _command(image, {"HOST": "127.0.0.1", "PORT": str(port), **env}),
            env={**os.environ, "ENTER": ENTER, "PYTHON": sys.executable},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    guard = Guard(process.pid)
    started = Container(process, port, log)
    try:
        yield started
    finally:
        started.kill()
        guard.dismiss()


def _command(image: Unpacked, more: dict[str, str]) -> list[str]:
    config = image.config
    env = {**dict(item.split("=", 1) for item in config.get("Env", [])), **more}
    uid, _, gid = str(config.get("User") or "0").partition(":")
    argv = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
    where = [str(image.root), uid, gid or uid, config.get("WorkingDir") or "/", json.dumps(env)]
    return ["unshare", *NAMESPACES, "sh", "-c", SETUP, "sh", *where, *argv]


@pytest.fixture(scope="session")
def containers() -> None:
    """Skips where nothing can be started as a container."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here: apt-get install -y util-linux")
    if os.geteuid() != 0:
        pytest.skip("starting an image needs root: sudo make test")
    tried = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, text=True, timeout=30)
    if tried.returncode:
        pytest.skip(
            f"namespaces are closed here ({tried.stderr.strip()}): run in a machine of your own, not a container"
        )
