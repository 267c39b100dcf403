from __future__ import annotations

import pytest

from upon_build.lock.tags import best_wheel, check_platform, uv_platform
from upon_build.project import ProjectError

AMD, ARM = "linux/amd64", "linux/arm64"


@pytest.mark.parametrize(
    ("files", "platform", "python", "expected"),
    [
        (["a-1-py3-none-any.whl"], AMD, "3.11", "a-1-py3-none-any.whl"),
        (["a-1-py2.py3-none-any.whl"], ARM, "3.13", "a-1-py2.py3-none-any.whl"),
        (
            ["a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "a-1-py3-none-any.whl"],
            AMD,
            "3.11",
            "a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        ),
        (
            ["a-1-cp38-abi3-manylinux2014_aarch64.whl", "a-1-cp312-cp312-manylinux_2_28_aarch64.whl"],
            ARM,
            "3.11",
            "a-1-cp38-abi3-manylinux2014_aarch64.whl",
        ),
        (["a-1-cp311-cp311-linux_x86_64.whl"], AMD, "3.11", "a-1-cp311-cp311-linux_x86_64.whl"),
        (["a-1-cp311-cp311-manylinux1_x86_64.whl"], AMD, "3.11", "a-1-cp311-cp311-manylinux1_x86_64.whl"),
        (["a-1-py3-none-any.whl", "a-1-2-py3-none-any.whl"], AMD, "3.11", "a-1-2-py3-none-any.whl"),
        (
            ["a-1-1-cp311-cp311-linux_x86_64.whl", "a-1-9-py3-none-any.whl"],
            AMD,
            "3.11",
            "a-1-1-cp311-cp311-linux_x86_64.whl",
        ),
    ],
)
def test_the_most_specific_file_is_chosen(files: list[str], platform: str, python: str, expected: str) -> None:
    assert expected == best_wheel(files, platform, python) == best_wheel(reversed(files), platform, python)


@pytest.mark.parametrize(
    "file",
    [
        "a-1-cp311-cp311-manylinux_2_17_x86_64.whl",  # another machine
        "a-1-cp311-cp311-manylinux_2_34_aarch64.whl",  # younger than what every base has
        "a-1-cp311-cp311-musllinux_1_2_aarch64.whl",
        "a-1-cp311-cp311-macosx_11_0_arm64.whl",
        "a-1-cp311-cp311-win_arm64.whl",
        "a-1-cp310-cp310-manylinux_2_17_aarch64.whl",
        "a-1-cp311-cp311t-manylinux_2_17_aarch64.whl",
        "a-1-cp312-abi3-manylinux_2_17_aarch64.whl",
        "a-1-pp311-pypy311_pp73-manylinux_2_17_aarch64.whl",
        "a-1-py2-none-any.whl",
        "a-1-cp311-cp311-manylinux1_aarch64.whl",  # manylinux_2_5 knows no such machine
        "a-1.tar.gz",
        "nonsense.whl",
    ],
)
def test_a_file_for_something_else_is_not(file: str) -> None:
    assert best_wheel([file], ARM, "3.11") is None


def test_platforms() -> None:
    assert ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28") == (uv_platform(AMD), uv_platform(ARM))
    with pytest.raises(ProjectError, match=r"func\.yaml:4: there are no wheels for the platform 'linux/s390x': choose"):
        check_platform("linux/s390x", "func.yaml:4")
