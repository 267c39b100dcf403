"""The virtual environment's own files: what Python looks for to know that it is in one."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterator
from functools import partial

from upon_build.image.layers.tar import Entry
from upon_build.image.packages.wheel import Environment


def venv_entries(where: Environment, interpreter: str) -> Iterator[Entry]:
    """interpreter: the base's Python, such as `/usr/local/bin/python3.11`. Raises ValueError for no absolute path."""
    if not posixpath.isabs(interpreter):
        raise ValueError(f"the path {interpreter!r} of the base's Python is not absolute")
    for name in ("python", "python3", f"python{where.python}"):
        yield Entry(f"{where.root}/bin/{name}", 0o777, "link", target=interpreter)
    yield Entry(where.packages, 0o755, "dir")
    lines = (
        f"home = {posixpath.dirname(interpreter)}",
        "include-system-site-packages = false",
        f"version = {where.python}",
    )
    content = "".join(f"{line}\n" for line in lines).encode()
    yield Entry(f"{where.root}/pyvenv.cfg", 0o644, "file", len(content), partial(io.BytesIO, content))
