"""A child that ends with its parent, however that ends."""

from __future__ import annotations

import subprocess


class Guard:
    """A shell that waits at a pipe, which only this process holds open, and then kills the child.

    A parent-death signal would come as soon as the *thread* ends that started the child.
    """

    def __init__(self, pid: int) -> None:
        command = ["sh", "-c", "read _; kill -9 $1", "sh", str(pid)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def dismiss(self) -> None:
        """The child has ended."""
        self._process.kill()
        self._process.communicate()
