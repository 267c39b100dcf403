"""One file of the cache while it is written: nobody sees it before it is whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType


class Writing:
    """A temporary file. handle: open for writing, and ours to close; target: gives its last name by its digest."""

    def __init__(self, handle: int, path: Path, target: Callable[[str], Path]) -> None:
        self.path = path
        self.size = 0  # bytes
        self._target = target
        self._hash = hashlib.sha256()
        self._file = os.fdopen(handle, "wb", buffering=0)
        os.fchmod(handle, 0o644)

    def write(self, content: bytes | bytearray | memoryview) -> int:
        """All of it. Raises OSError with the file's name."""
        view = memoryview(content).cast("B")
        self._hash.update(view)
        done = 0
        while done < len(view):
            try:
                done += self._file.write(view[done:]) or 0
            except OSError as error:  # no space: the system's own message names no file
                raise OSError(error.errno, error.strerror, str(self.path)) from None
        self.size += done
        return done

    def digest(self) -> str:
        """Of what was written until now."""
        return "sha256:" + self._hash.hexdigest()

    def commit(self) -> Path:
        """Give the file its name; returns its path. Raises OSError with the file's name.

        Nothing waits for the disk: what a power failure leaves cut off has another size, which is noticed when it is
        looked for.
        """
        try:
            self._file.close()  # some file systems tell of a full disk only here
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        target = self._target(self.digest())
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)
        return target

    def close(self) -> None:
        """Remove what was not committed."""
        with suppress(OSError):
            self._file.close()
        with suppress(FileNotFoundError):
            self.path.unlink()

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
