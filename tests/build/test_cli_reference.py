"""docs/reference/cli.md is what the commands say of themselves."""

from __future__ import annotations

from pathlib import Path

from upon_build.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "python -m upon_build.cli.reference > docs/reference/cli.md"
