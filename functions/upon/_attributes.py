"""What CloudEvents 1.0 allows as an attribute: its name, its type, its characters, its timestamps."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from upon._errors import MalformedEvent

CORE_ATTRIBUTES = frozenset({"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"})
REQUIRED_ATTRIBUTES = ("specversion", "id", "source", "type")
MAX_NAME = 20
USUAL_EXTENSIONS = (
    "partitionkey",
    "key",
    "traceparent",
    "tracestate",
    "correlationid",
    "causationid",
    "sequence",
    "knativearrivaltime",
)
_known_names = {*CORE_ATTRIBUTES, *USUAL_EXTENSIONS}  # and names seen to be right, up to a bound
_MOST_KNOWN_NAMES = 256
_NAME = re.compile(r"[a-z0-9]+\Z")
_SURE_TIME = re.compile(  # right without a look at the calendar
    r"[12]\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?Z\Z", re.ASCII
).match
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)\Z", re.ASCII).match


def check_attribute(name: str, value: object) -> Any:
    """Return the value as an attribute of a new event may hold it, or raise MalformedEvent."""
    if isinstance(name, str) and len(name) > MAX_NAME:
        raise MalformedEvent(f"attribute name {name!r} has {len(name)} characters: use at most {MAX_NAME}", name)
    return read_attribute(name, value)


def read_attributes(given: dict[str, Any], how: str, text: str | None = None) -> dict[str, Any]:
    """The attributes of an event from outside, checked; `how` says how to send one that is missing.
    text: all values joined, where the caller has that already.

    Nearly all events pass by a few checks of everything at once; for the others read_attribute decides.
    """
    if not ("specversion" in given and "id" in given and "source" in given and "type" in given):
        missing = next(name for name in REQUIRED_ATTRIBUTES if name not in given)
        raise MalformedEvent(f"attribute {missing!r} is missing: send it as {how.format(missing)}", missing)
    values = given.values()
    try:
        text = "".join(values) if text is None else text
        usual = text.isprintable() and "" not in values and given.keys() <= _known_names
    except TypeError:  # not all are strings
        usual = False
    if not usual or given["specversion"] != "1.0" or not given.get("datacontenttype", "").isascii():
        return {name: read_attribute(name, value) for name, value in given.items()}
    if "time" in given and not _SURE_TIME(given["time"]):
        check_time(given["time"])
    return given


def read_attribute(name: str, value: object) -> Any:
    """As check_attribute, for an event that comes from outside: there a name may be long.

    Only producers are told to keep to 20 characters, and Knative's KafkaSource really sends longer names.
    """
    if name == "time":
        return check_time(value)
    if name in CORE_ATTRIBUTES:
        if not isinstance(value, str) or not value:
            raise MalformedEvent(f"attribute {name!r} must be a non-empty string, not {value!r}", name)
        if name == "specversion" and value != "1.0":
            raise MalformedEvent(f"specversion {value!r} is not supported: send '1.0'", name)
        if name == "datacontenttype" and not value.isascii():
            raise MalformedEvent(f"attribute 'datacontenttype' must be a media type in ASCII, not {value!r}", name)
    else:
        check_name(name)
        if isinstance(value, datetime):
            return format_time(value)
        if not isinstance(value, (str, bool, int, bytes)):
            raise MalformedEvent(f"attribute {name!r} must be a string, integer, boolean or bytes, not {value!r}", name)
        if isinstance(value, int) and not -(2**31) <= value < 2**31:
            raise MalformedEvent(f"attribute {name!r} must fit 32 bits, not {value!r}: send it as a string", name)
    if isinstance(value, str) and not value.isprintable():
        _check_characters(name, value)
    return value


def check_name(name: object) -> None:
    """Raise MalformedEvent unless the name is lower-case letters and digits, and not `data`."""
    if not isinstance(name, str) or not _NAME.match(name) or name == "data":
        raise MalformedEvent(
            f"attribute name {name!r} must be lower-case letters and digits, and not 'data'", str(name)
        )
    if len(_known_names) < _MOST_KNOWN_NAMES:
        _known_names.add(name)


def check_time(value: object) -> str:
    """An RFC 3339 timestamp as its text; a datetime needs a timezone."""
    if type(value) is str and _TIME(value):
        try:
            parse_time(value)
        except ValueError:
            pass
        else:
            return value
    if isinstance(value, datetime):
        return format_time(value)
    raise MalformedEvent(
        f"attribute 'time' must be an RFC 3339 timestamp such as 2026-01-31T12:00:00Z, not {value!r}", "time"
    )


def parse_time(value: str) -> datetime:
    """RFC 3339 to datetime; more than six fractional digits are cut."""
    return datetime.fromisoformat(value if value.isupper() else value.upper())


def format_time(value: datetime) -> str:
    """datetime to RFC 3339; raises MalformedEvent for one without a timezone."""
    offset = value.utcoffset()
    if offset is None:
        raise MalformedEvent(f"{value!r} has no timezone: use datetime.now(UTC) or the like", "time")
    if offset % timedelta(minutes=1):  # local mean time, which RFC 3339 can't write
        value = value.astimezone(UTC)
    return value.isoformat().replace("+00:00", "Z")


def attribute_text(value: object) -> str:
    """The canonical string form of an attribute's value (CloudEvents 1.0, type system)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        from binascii import b2a_base64

        return b2a_base64(value, newline=False).decode()
    return str(value)


def is_text(value: str) -> bool:
    """Whether every character may stand in a CloudEvents string."""
    return value.isprintable() or not any(map(_is_forbidden, value))


def _check_characters(name: str, value: str) -> None:
    for character in filter(_is_forbidden, value):
        raise MalformedEvent(
            f"attribute {name!r} holds the character U+{ord(character):04X}, which is not allowed", name
        )


def _is_forbidden(character: str) -> bool:
    code = ord(character)
    return (
        code < 0x20
        or 0x7F <= code <= 0x9F
        or 0xD800 <= code <= 0xDFFF
        or 0xFDD0 <= code <= 0xFDEF
        or code & 0xFFFE == 0xFFFE
    )
