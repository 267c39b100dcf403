"""What stays out of the image: `.funcignore` in the project's folder, and some things always.

`.funcignore` has .gitignore's syntax, and `.gitignore` itself is not read: models and generated code are often not in
Git, and belong in the image. As in Git, what lies in a folder that is left out can't be brought back, and the last
pattern that matches decides.

- Always out, whatever the file says: version control, caches of Python and its tools, virtual environments, `.upon`,
  `.env` files and the folders of SSH and GnuPG.
- Out unless a pattern such as `!node_modules/` brings them back: what is only of use on a developer's machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from upon_build.image.files.patterns import decide, read_patterns
from upon_build.project.problems import Problem, fail

NAME = ".funcignore"
MAX_SIZE = 2**18  # bytes

_ALWAYS = frozenset(
    {
        *(".git", ".hg", ".svn", ".bzr", ".jj"),
        *(".env", ".envrc", ".ssh", ".gnupg"),
        *("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox"),
        *(".upon", ".ipynb_checkpoints"),
    }
)
_ALWAYS_LIKE = re.compile(r"\.env\..*|.*\.py[co]", re.DOTALL)
_USUALLY = frozenset(
    {
        *("node_modules", ".idea", ".vscode", ".coverage", ".import_linter_cache", ".DS_Store", "Thumbs.db"),
        *(".funcignore", ".gitignore", ".gitattributes", ".gitmodules", ".dockerignore"),
    }
)
_USUALLY_LIKE = re.compile(r".*\.egg-info|.*~|.*\.swp|\.#.*", re.DOTALL)
_USUALLY_ON_TOP = frozenset({"dist", "func.lock"})
MARKERS = frozenset({"pyvenv.cfg", "conda-meta", "oci-layout"})  # of a virtual environment, one of conda, and an image

_IMAGE_FILE = b"oci-layout\0"  # how a tar begins whose first member has that name


def always_out(name: str) -> bool:
    """Whether a file or folder of this name never goes into an image."""
    return name in _ALWAYS or _ALWAYS_LIKE.fullmatch(name) is not None


def is_environment(folder: str) -> bool:
    """Whether a folder is a virtual environment, or an image that was written here. Neither goes into an image."""
    return any(os.path.exists(os.path.join(folder, marker)) for marker in MARKERS)


def is_image_file(path: str) -> bool:
    """Whether a file is an image that `func build --output FILE.tar` wrote here."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_IMAGE_FILE)) == _IMAGE_FILE
    except OSError:
        return False


class Ignore:
    """The patterns of one project. Ask from the top down: what is in a folder that is out is not asked about."""

    def __init__(self, lines: Sequence[str] = ()) -> None:
        self._lines = lines
        self._patterns = read_patterns(lines)
        self._overruled: dict[int, str] = {}

    @classmethod
    def read(cls, folder: Path) -> Ignore:
        """The project's `.funcignore`; none is no patterns. Raises ProjectError where it can't be read."""
        try:
            with (folder / NAME).open("rb") as file:
                content = file.read(MAX_SIZE + 1)
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise fail(NAME, f"the file can't be read: {error.strerror}") from None
        if len(content) > MAX_SIZE:
            raise fail(NAME, f"the file is larger than {MAX_SIZE} bytes", "name folders instead of files")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise fail(NAME, "the file is not UTF-8", "save it as UTF-8") from None
        return cls(text.replace("\r\n", "\n").split("\n"))

    def leaves_out(self, path: str, *, is_folder: bool) -> bool:
        """path: relative to the project's folder, with slashes."""
        name = path.rpartition("/")[2]
        pattern = decide(self._patterns, path, name, is_folder=is_folder)
        if always_out(name):
            if pattern is not None and not pattern.leaves_out:
                self._overruled.setdefault(pattern.line, path)
            return True
        if pattern is not None:
            return pattern.leaves_out
        return path in _USUALLY_ON_TOP or name in _USUALLY or _USUALLY_LIKE.fullmatch(name) is not None

    @property
    def warnings(self) -> list[Problem]:
        """Patterns that would bring back what never goes into an image, as far as was asked."""
        found = []
        for line, path in sorted(self._overruled.items()):
            message = f"{self._lines[line - 1].strip()!r} does not bring back {path!r}, which never goes into an image"
            found.append(Problem("warning", f"{NAME}:{line}", message, "remove the line"))
        return found
