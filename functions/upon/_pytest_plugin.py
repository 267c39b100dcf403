"""The pytest plugin: one fixture and nothing else. Loaded in every pytest run, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from upon.testing import Client


@pytest.fixture
def upon_client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """An upon.testing.Client of the project around the test: the nearest func.yaml upwards from the test's file."""
    from upon.testing import Client

    with Client(_project_file(request.path, request.config.rootpath)) as client:
        yield client


def _project_file(test: Path, root: Path) -> Path:
    for folder in (*test.parents, root):
        if (folder / "func.yaml").is_file():
            return folder / "func.yaml"
    pytest.fail(
        f"upon_client: no func.yaml in the folder of {test} or above it: move the test into a project, or write"
        " `with upon.testing.Client(...)` yourself",
        pytrace=False,
    )
