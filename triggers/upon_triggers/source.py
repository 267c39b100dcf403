"""What every source can do. The runtime starts, pauses and stops them; it never knows which kind it holds."""

from __future__ import annotations

from typing import Any, Protocol

from upon import UponError


class SourceError(UponError):
    """A source can't work as it is set up: an address, a topic or a right is missing. The message says which."""


class Source(Protocol):
    """name: for logs, metrics and the readiness body, such as `kafka reviews -> score`."""

    name: str

    def start(self) -> None:
        """Begin in the background. Raises SourceError for what can't work (a topic that can't be made)."""

    def pause(self) -> None:
        """Take no new work; what is in flight goes on."""

    def stop(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for work in flight, commit what is finished, let go of the outside."""

    def state(self) -> dict[str, Any]:
        """A few JSON values: at least `connected` (bool) and `in_flight` (int)."""
        ...
