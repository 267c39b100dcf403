"""Small services on disk for tests that start real processes."""

from __future__ import annotations

import textwrap
from pathlib import Path


def service_in(folder: Path, code: str, *, name: str = "svc", more: str = "") -> Path:
    """A func.yaml with `more` lines, and one function file."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = f"specVersion: upon/v1\nname: {name}\nfunctions: [functions.py]\n{textwrap.dedent(more)}"
    (folder / "func.yaml").write_text(settings)
    (folder / "functions.py").write_text(textwrap.dedent(code))
    return folder
