"""What goes wrong with a cluster, each as an error with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from upon import UponError


class ApiError(UponError):
    """The API server refused. status: HTTP's; reason: Kubernetes' word, such as `Invalid`."""

    def __init__(self, message: str, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class ClusterUnavailable(ApiError):
    """Nothing answers, or nobody lets us in."""


class NotFound(ApiError):
    """There is no such object, or its kind is not known to the cluster."""


class Gone(ApiError):
    """What was to be watched from is too old: list again."""


class Forbidden(ApiError):
    """A right is missing; the message names it."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field that somebody else set. path: as Kubernetes writes it; manager: who."""

    path: str
    manager: str


class Conflict(ApiError):
    """Somebody else has set fields of an object; fields: which, and who."""

    def __init__(self, message: str, fields: Sequence[Field], status: int = 409) -> None:
        super().__init__(message, status, "Conflict")
        self.fields = tuple(fields)
