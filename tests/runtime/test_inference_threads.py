from __future__ import annotations

from pathlib import Path

import pytest

from upon_runtime.inference.threads import cpu_quota, usable_cpus


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, None),
        (
            {
                "proc/self/cgroup": "0::/pods/a",
                "sys/fs/cgroup/pods/a/cpu.max": "max 100000",
                "sys/fs/cgroup/pods/cpu.max": "300000 100000",
                "sys/fs/cgroup/cpu.max": "400000 100000",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n1:cpu,cpuacct:/x\n0::/",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "200000",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000",
            },
            2.0,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
        ),
    ],
)
def test_the_tightest_quota_counts(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    assert quota == cpu_quota(tree(tmp_path, files))


@pytest.mark.parametrize(("limit", "cpus"), [("50000 100000", 1), ("190000 100000", 1), ("200000 100000", 2)])
def test_whole_cpus_are_used_and_at_least_one(
    limit: str, cpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert cpus == usable_cpus(tree(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": limit}))


def test_affinity_counts_where_there_is_no_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 3, 5})
    assert 3 == usable_cpus(tmp_path)
