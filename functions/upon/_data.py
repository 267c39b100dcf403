"""Data to bytes and back. The content type decides, never a look at the bytes."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

from upon import _json
from upon._errors import DataError

ValueFormat: TypeAlias = Literal["json", "text", "bytes"]

_JSON_TYPE = re.compile(r"[^/;]+/(?:[^;]*\+)?json\s*(?:;|\Z)", re.IGNORECASE)
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)


def is_json(content_type: str) -> bool:
    """Whether a media type is JSON: `application/json`, `text/json` or `…+json`, with any parameters."""
    return content_type == "application/json" or _JSON_TYPE.match(content_type) is not None


def is_text_type(content_type: str) -> bool:
    """Whether a media type is `text/*`."""
    return content_type[:5].lower() == "text/"


def encode_data(data: object, content_type: str | None) -> tuple[bytes | None, str | None]:
    """Data to bytes and its content type. None is no data; bytes go out as they are; the rest is JSON or text."""
    if data is None:
        return None, content_type
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data), content_type or "application/octet-stream"
    if content_type is None or is_json(content_type):
        return _json.dumps(data), content_type or "application/json"
    if isinstance(data, str):
        return encode_text(data, content_type), content_type
    raise DataError(
        f"data of type {type(data).__name__} can't be written as {content_type!r}: give bytes, or a JSON content type"
    )


def decode_data(body: bytes | None, content_type: str | None, value: ValueFormat = "json") -> Any:
    """Bytes to data by content type; without one, `value` says how."""
    if body is None:
        return None
    if content_type is None:
        as_json, as_text = value == "json", value == "text"
    else:
        as_json, as_text = is_json(content_type), is_text_type(content_type)
    if as_json:
        return _json.loads(body)
    return decode_text(body, content_type) if as_text else body


def encode_text(text: str, content_type: str | None) -> bytes:
    """Text to bytes in the content type's charset, by default UTF-8."""
    charset = _charset(content_type)
    try:
        return text.encode(charset)
    except (UnicodeError, LookupError) as error:
        raise DataError(f"can't be written in the charset {charset!r}: {error}") from None


def decode_text(body: bytes, content_type: str | None) -> str:
    """Bytes to text in the content type's charset, by default UTF-8."""
    charset = _charset(content_type)
    try:
        return body.decode(charset)
    except (UnicodeError, LookupError) as error:
        raise DataError(f"not text in the charset {charset!r}: {error}") from None


def _charset(content_type: str | None) -> str:
    match = _CHARSET.search(content_type or "")
    return match.group(1) if match else "utf-8"
