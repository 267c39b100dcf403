"""What can go wrong with a registry, cut by what the caller can do about it."""

from __future__ import annotations

from upon import UponError, UsageError


class InvalidReference(UsageError):
    """A text that names no image: change the text."""


class RegistryError(UponError):
    """A registry did not do what was asked. status: its HTTP status, where it answered; code: its own error code."""

    def __init__(self, message: str, *, status: int | None = None, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class RegistryUnavailable(RegistryError):
    """Nothing answers at the address, or nobody is let in: mend the address, the network or the login."""


class NotFound(RegistryError):
    """The registry has no such repository, manifest or blob."""


class DigestMismatch(RegistryError):
    """Content is not what its digest says: the registry, a proxy or the cache damaged it. Never use it."""


class Interrupted(RegistryError):
    """The transfer was told to stop, since another one failed."""
