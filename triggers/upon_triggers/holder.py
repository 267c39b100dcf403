"""Which process fires a schedule, told so that others on the machine see at once when it has ended."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import astuple, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Holder:
    """One source of one process. boot, pids: which run of a kernel and which of its pid namespaces `pid` counts in.

    start: when the process began, in the kernel's ticks; pids come again. token: tells sources of a process apart.
    """

    host: str
    boot: str
    pids: str
    pid: int
    start: str
    token: str

    def __str__(self) -> str:
        return "/".join(map(str, astuple(self)))

    @property
    def known(self) -> str:
        """For people: `process 4711 on laptop`."""
        return f"process {self.pid} on {self.host}"


def this_process() -> Holder:
    pid = os.getpid()
    boot = _read("/proc/sys/kernel/random/boot_id").strip()
    return Holder(socket.gethostname(), boot, _namespace(), pid, _start(pid) or "", uuid.uuid4().hex[:12])


def parse(text: str) -> Holder | None:
    """What str() of a holder wrote; None for an identity of another kind."""
    parts = text.split("/")
    if len(parts) != 6 or not parts[3].isdigit():
        return None
    return Holder(parts[0], parts[1], parts[2], int(parts[3]), parts[4], parts[5])


def is_gone(text: str, me: Holder) -> bool:
    """Whether that holder's process has surely ended: False wherever this process can't see it."""
    holder = parse(text)
    if holder is None or not me.boot or not me.pids or (holder.boot, holder.pids) != (me.boot, me.pids):
        return False
    start = _start(holder.pid)
    return not _exists(holder.pid) if start is None else start != holder.start


def _start(pid: int) -> str | None:
    """None where it can't be seen, "" where the process is dead and only waits for its parent."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) <= 19:
        return None
    return "" if fields[0] in ("Z", "X") else fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
