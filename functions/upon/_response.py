"""A plain HTTP answer with a status, headers or a content type of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from upon._data import encode_data


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
        if type(self.status) is not int or not 200 <= self.status <= 599:
            raise ValueError(f"status must be a whole number between 200 and 599, not {self.status!r}")
        kind = self.content_type
        if kind is not None and not (kind and kind.isascii() and kind.isprintable()):
            raise ValueError(f"content_type must be a media type in ASCII, not {kind!r}")
        for name, value in self.headers.items():
            if not isinstance(value, str) or {"\r", "\n"} & {*name, *value}:
                raise ValueError(f"header {name!r} must be a string on one line, not {value!r}")

    def encoded(self) -> Response:
        """The same with its data as bytes. Raises DataError where the data has no JSON form."""
        headers = {name: value for name, value in self.headers.items() if name.lower() != "content-type"}
        named = next((value for name, value in self.headers.items() if name not in headers), None)
        body, content_type = encode_data(self.data, self.content_type or named)
        return Response(body, self.status, headers, content_type)
