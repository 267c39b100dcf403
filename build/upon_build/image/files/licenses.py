"""A model's licence, where its own folder tells: a model card's `license:`, or the text of a well-known licence.

A licence in the project's own folder is the project's, and says nothing of a model beside it.
"""

from __future__ import annotations

import re
from pathlib import Path

MAX_SIZE = 2**16  # bytes that are looked at
_CARDS = ("README.md", "MODEL_CARD.md")
_TEXTS = ("LICENSE", "LICENSE.txt", "LICENSE.md", "COPYING")
_FRONT = re.compile(r"---\r?\n(.*?)\r?\n---\s", re.DOTALL)
_SAID = re.compile(r"^license:[ \t]*([\"']?)([A-Za-z0-9][A-Za-z0-9.+-]*)\1[ \t]*(?:#.*)?$", re.MULTILINE)
_KNOWN = (
    ("Apache-2.0", "apache license version 2.0, january 2004"),
    ("MIT", "permission is hereby granted, free of charge, to any person obtaining a copy of this software and"),
)
_SPDX = {name.lower(): name for name in ("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0")}


def model_license(folder: Path, path: str) -> str:
    """An SPDX identifier where it is one, else the card's own word; empty where nothing is known.

    folder: of func.yaml; path: the model's, relative to it.
    """
    where = folder / path
    around = where if where.is_dir() else where.parent
    if around.resolve() == folder.resolve():
        return ""
    for name in _CARDS:
        front = _FRONT.match(_read(around / name))
        said = _SAID.search(front[1]) if front else None
        if said:
            return _SPDX.get(said[2].lower(), said[2])
    texts = (" ".join(_read(around / name).lower().split()) for name in _TEXTS)
    return next((name for text in texts for name, phrase in _KNOWN if phrase in text), "")


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SIZE).decode("utf-8", "replace")
    except OSError:
        return ""
