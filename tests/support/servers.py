"""Servers for tests that Debian has packages of, run without installing them, each ending with its parent."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from support.guard import Guard

CACHE = Path.home() / ".cache" / "upon"
START_TIMEOUT = 60.0
FETCH = ("apt-get", "install", "--yes", "--download-only", "--no-install-recommends", "-o", "Debug::NoLocking=1")


class Unavailable(Exception):
    """This machine has no such server; the message names the command that provides one."""


def unpacked(package: str) -> Path:
    """A Debian package and whatever of its dependencies is not installed, unpacked below ~/.cache/upon, once."""
    remedy = f"apt-get update && apt-get install -y {package}"
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise Unavailable(f"no {package} here, and no Debian to fetch it from: install it")
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{package}.lock", "w") as lock:  # several pytest processes may come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = CACHE / f"{package}-{_version(package, remedy)}"
        if not folder.is_dir():
            try:
                _fetch(package, folder, remedy)
            except Unavailable:  # lists that are old name packages that are gone
                if not update_lists():
                    raise
                folder = CACHE / f"{package}-{_version(package, remedy)}"
                _fetch(package, folder, remedy)
    return folder


def _version(package: str, remedy: str) -> str:
    found = _candidate(package)
    if found is None and update_lists():
        found = _candidate(package)
    if found is None:
        raise Unavailable(f"no {package} in the package lists: {remedy}")
    return found.replace(":", "_")


def update_lists() -> bool:
    """New package lists; False for who may not have them."""
    if os.geteuid() != 0:
        return False
    return subprocess.run(["apt-get", "update"], capture_output=True, timeout=300).returncode == 0


def _candidate(package: str) -> str | None:
    shown = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, timeout=60).stdout
    found = [line.split()[1] for line in shown.splitlines() if line.strip().startswith("Candidate:")]
    return found[0] if found and found[0] != "(none)" else None


def _fetch(package: str, folder: Path, remedy: str) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as part:
        archives = Path(part) / "archives"
        (archives / "partial").mkdir(parents=True)
        command = [*FETCH, "-o", f"Dir::Cache::archives={archives}", package]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        debs = sorted(archives.glob("*.deb"))
        if done.returncode or not debs:
            last = done.stdout.strip().splitlines()[-1:] or ["no output"]
            raise Unavailable(f"{package} can't be fetched ({last[0]}): {remedy}")
        for deb in debs:
            subprocess.run(["dpkg", "-x", str(deb), f"{part}/root"], check=True, capture_output=True, timeout=120)
        Path(part, "root").chmod(0o755)
        Path(part, "root").rename(folder)


def libraries(root: Path) -> dict[str, str]:
    """The environment in which unpacked programs find their libraries."""
    folders = [str(found) for found in (*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu"))]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(folders), "LC_ALL": "C.UTF-8"}


def free_port() -> int:
    """Below the ports that Linux gives to outgoing connections: a server comes back where it was."""
    for port in random.sample(range(15000, 32000), 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise RuntimeError("no free port")


class Server:
    """One process. A shell that waits at a pipe kills it when this one ends."""

    def __init__(
        self,
        command: Sequence[str],
        answers: Callable[[], bool],
        *,
        folder: Path,
        env: Mapping[str, str],
        user: str | None = None,
    ) -> None:
        self.command = command
        self.folder = folder
        self._answers = answers
        self._env = env
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None

    def start(self) -> None:
        """Returns once it answers."""
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                group=None if self._user is None else "nogroup",
                extra_groups=None if self._user is None else [],
                start_new_session=True,
            )
        self._guard = Guard(self._process.pid)
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.kill()
                raise RuntimeError(f"{self.command[0]} did not come up:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def pause(self) -> None:
        """Frozen: connections stay, nothing is answered."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.send(signal.SIGCONT)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """An orderly end, or SIGKILL after 20 s."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self.send(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        self.kill()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._guard is not None:
            self._guard.dismiss()
            self._guard = None


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
