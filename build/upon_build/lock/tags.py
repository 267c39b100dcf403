"""Which wheel file suits a platform and Python, by its tags alone: this machine's own never come into it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from upon_build.project.problems import fail

GLIBC = 28  # manylinux_2_28: Debian 10, RHEL 8 and everything younger
_ARCHITECTURES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
_OLDEST = {"x86_64": 5, "aarch64": 17}
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
PLATFORMS = tuple(_ARCHITECTURES)


def check_platform(platform: str, where: str = "build.platforms") -> str:
    """The platform itself. Raises ProjectError for one that no wheels are chosen for."""
    if platform not in _ARCHITECTURES:
        raise fail(where, f"there are no wheels for the platform {platform!r}", f"choose {' or '.join(PLATFORMS)}")
    return platform


def uv_platform(platform: str) -> str:
    """What uv calls it: linux/amd64 is x86_64-manylinux_2_28."""
    return f"{_ARCHITECTURES[platform]}-manylinux_2_{GLIBC}"


def best_wheel(files: Iterable[str], platform: str, python: str) -> str | None:
    """The file that suits best, or None where none does: the most specific tag, then the highest build number."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    order = _order(platform, python)
    found = []
    for file in sorted(set(files)):
        try:
            _, _, build, tags = parse_wheel_filename(file)
        except InvalidWheelFilename:
            continue
        ranks = [order[str(tag)] for tag in tags if str(tag) in order]
        if ranks:
            found.append((-min(ranks), build, file))
    return max(found)[2] if found else None


@cache
def _order(platform: str, python: str) -> dict[str, int]:
    from packaging.tags import compatible_tags, cpython_tags

    major, minor = map(int, python.split("."))
    platforms = list(_platform_tags(_ARCHITECTURES[platform]))
    interpreter = f"cp{major}{minor}"
    tags = [
        *cpython_tags((major, minor), abis=[interpreter], platforms=platforms),
        *compatible_tags((major, minor), interpreter=interpreter, platforms=platforms),
    ]
    order: dict[str, int] = {}
    for tag in tags:
        order.setdefault(str(tag), len(order))
    return order


def _platform_tags(architecture: str) -> Iterator[str]:
    for minor in range(GLIBC, _OLDEST[architecture] - 1, -1):
        yield f"manylinux_2_{minor}_{architecture}"
        if minor in _LEGACY:
            yield f"{_LEGACY[minor]}_{architecture}"
    yield f"linux_{architecture}"
