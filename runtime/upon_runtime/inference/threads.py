"""How many CPUs this process may really use: ONNX Runtime asks the host and ignores a container's quota."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus(root: Path = Path("/")) -> int:
    """Whole CPUs by affinity and by the control group's quota, at least 1. root: where /proc and /sys hang."""
    quota = cpu_quota(root)
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # A part of a CPU more would only be throttled, so it counts as none.
    return affinity if quota is None else max(1, min(affinity, int(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs granted by the tightest control group on the way up, version 2 or 1; None when there is no limit."""
    quotas = [quota for folder in _groups(root) if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _groups(root: Path) -> Iterator[Path]:
    mounted = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            base = mounted
        elif "cpu" in controllers.split(","):
            base = mounted / "cpu"
        else:
            continue
        group = base / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(base))


def _quota_of(folder: Path) -> float | None:
    limit, _, period = _read(folder / "cpu.max").partition(" ")
    if not period:
        limit, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    try:
        granted, of = int(limit), int(period)
    except ValueError:  # "max", or no such file
        return None
    return granted / of if granted > 0 and of > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
