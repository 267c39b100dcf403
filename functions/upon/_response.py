"""A plain HTTP answer with a status, headers or a content type of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Response:
    """What an `@upon.http` function returns to choose more than the data.

    data is written as for any reply: bytes as they are, the rest as JSON (str as text where content_type says so).
    """

    data: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError(f"status must be between 200 and 599, not {self.status!r}")
