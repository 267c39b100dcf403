"""One container as a process: its own mounts in the pod's network, and for an image its own root and user."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from support.cluster.images import Runnable
from support.containers import ENTER, NAMESPACES

STOP_TIMEOUT = 10.0

# As support.containers starts an image, with the pod's volumes on top: without one at /tmp nothing can be written.
IMAGE = """
set -e; root=$1; shift; count=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom; do touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
mkdir -m 1777 "$root/dev/shm"; mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
while [ "$count" -gt 0 ]; do
  if [ -d "$1" ]; then mkdir -p "$root$2"; else touch "$root$2"; fi
  mount --bind "$1" "$root$2"; if [ "$3" = ro ]; then mount -o remount,bind,ro "$root$2"; fi
  shift 3; count=$((count - 1))
done
mount -o remount,bind,ro "$root"
exec "$PYTHON" -I -c "$ENTER" "$root" "$@"
"""
PROGRAM = """
set -e; count=$1; shift
mkdir -p /var/run/secrets; mount -t tmpfs none /var/run/secrets
while [ "$count" -gt 0 ]; do
  if [ -d "$1" ]; then mkdir -p "$2"; fi
  mount --bind "$1" "$2"; shift 3; count=$((count - 1))
done
exec "$@"
"""


@dataclass(frozen=True)
class Mount:
    source: Path
    target: str
    read_only: bool = False


class Process:
    """A started container."""

    def __init__(self, popen: subprocess.Popen[bytes], user: str | None) -> None:
        self._popen = popen
        self._user = user  # of an image: then it is unshare that we started, and its child that is the container

    def wait(self) -> int:
        """The exit code as Kubernetes tells it: 128 and the signal's number for one that was killed."""
        code = self._popen.wait()
        return code if code >= 0 else 128 - code

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def signal(self, number: int) -> None:
        """To the container's first process, or to all of a program's."""
        with suppress(OSError, IndexError):
            if self._user is not None:
                os.kill(self._first(), number)
            else:
                os.killpg(self._popen.pid, number)

    def _first(self) -> int:
        """The container's first process. Raises OSError, IndexError: it has ended, or not begun."""
        return int(Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children").read_text().split()[0])

    def enter(self, namespace: str) -> list[str]:
        """What runs a command inside, as the container's user."""
        net = f"--net=/run/netns/{namespace}"
        if self._user is None:
            return ["nsenter", net]
        try:
            first = self._first()
        except (OSError, IndexError):
            return ["false"]
        uid, _, gid = self._user.partition(":")
        inside = ("--mount", "--pid", "--ipc", "--uts", "--root", "--wd")
        return ["nsenter", "--target", str(first), *inside, net, "--setgid", gid or uid, "--setuid", uid]

    def kill(self) -> None:
        """Its first process takes all others with it."""
        self.signal(signal.SIGKILL)
        with suppress(OSError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(STOP_TIMEOUT)


def start(
    runnable: Runnable,
    argv: Sequence[str],
    env: Mapping[str, str],
    mounts: Sequence[Mount],
    *,
    namespace: str,
    log: Path,
) -> Process:
    """In the network namespace of this name. Raises OSError."""
    placed = [part for one in mounts for part in (str(one.source), one.target, "ro" if one.read_only else "rw")]
    enter = ["nsenter", f"--net=/run/netns/{namespace}", "unshare"]
    if runnable.root is None:
        own = ("--mount", "--propagation", "private", "sh", "-c", PROGRAM, "sh")
        command = [*enter, *own, str(len(mounts)), *placed, *argv]
        given = dict(env)
    else:
        uid, _, gid = runnable.user.partition(":")
        inside = [uid, gid or uid, runnable.folder, json.dumps(dict(env)), *argv]
        command = [*enter, *NAMESPACES, "sh", "-c", IMAGE, "sh", str(runnable.root), str(len(mounts)), *placed, *inside]
        given = {**os.environ, "ENTER": ENTER, "PYTHON": sys.executable}
    popen = subprocess.Popen(
        command,
        env=given,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    threading.Thread(target=_record, args=(popen.stdout, log), name="log", daemon=True).start()
    return Process(popen, None if runnable.root is None else runnable.user)


def _record(output: IO[bytes], log: Path) -> None:
    """Each line with the time at which it came, as container runtimes keep them."""
    with output, open(log, "ab", buffering=0) as file:
        for line in output:
            file.write(f"{stamp(time.time())} ".encode() + line.rstrip(b"\n") + b"\n")


def stamp(at: float) -> str:
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
    return f"{second}.{int(at % 1 * 1e9):09d}Z"


def unstamped(content: bytes) -> bytes:
    """A log without its times."""
    return b"".join(line.partition(b" ")[2] for line in content.splitlines(keepends=True))
