"""The CloudEvent as a person meets it: attributes, bytes, and data decoded on first use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, cast
from uuid import uuid4

from upon import _json
from upon._errors import DataError, MalformedEvent

if TYPE_CHECKING:  # a bare `Event` is an Event[Any]; the runtime of Python 3.11 has no defaults
    from typing_extensions import TypeVar as _TypeVar

    T = _TypeVar("T", default=Any)
else:
    T = TypeVar("T")
ValueFormat: TypeAlias = Literal["json", "text", "bytes"]

CORE_ATTRIBUTES = frozenset(
    {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"}
)
_NAME = re.compile(r"[a-z0-9]{1,20}\Z")
_JSON_TYPE = re.compile(r"(?:[^/]+/json|[^/]+/[^;]*\+json)\s*(?:;|\Z)", re.IGNORECASE)
_UNSET: Any = object()


@dataclass(frozen=True, slots=True)
class KafkaInfo:
    """Where a record came from. headers: (name, value) pairs in order, values as bytes or None."""

    topic: str
    partition: int
    offset: int
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: datetime | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a multipart form."""

    name: str
    filename: str | None
    content_type: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpInfo:
    """The request behind a plain HTTP event. Header names are lower-case; query keeps repeated values."""

    method: str
    path: str
    path_params: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Upload, ...] = ()


def is_json(content_type: str) -> bool:
    """Whether a media type is JSON: `application/json`, `text/json` or `…+json`, with any parameters."""
    return content_type == "application/json" or _JSON_TYPE.match(content_type) is not None


def check_attribute(name: str, value: object) -> object:
    """Return the value as an attribute of CloudEvents 1.0 may hold it, or raise MalformedEvent."""
    if name in CORE_ATTRIBUTES:
        if name == "time":
            return check_time(value)
        if not isinstance(value, str) or not value:
            raise MalformedEvent(f"attribute {name!r} must be a non-empty string, not {value!r}", name)
        if name == "specversion" and value != "1.0":
            raise MalformedEvent(f"specversion {value!r} is not supported: send '1.0'", name)
    else:
        if not _NAME.match(name) or name == "data":
            raise MalformedEvent(
                f"attribute name {name!r} must be 1 to 20 lower-case letters or digits, and not 'data'", name
            )
        if isinstance(value, datetime):
            return format_time(value)
        if not isinstance(value, (str, bool, int, bytes)):
            raise MalformedEvent(f"attribute {name!r} must be a string, integer, boolean or bytes, not {value!r}", name)
        if type(value) is int and not -(2**31) <= value < 2**31:
            raise MalformedEvent(f"attribute {name!r} must fit 32 bits, not {value!r}: send it as a string", name)
    if isinstance(value, str):
        _check_characters(name, value)
    return value


def check_time(value: object) -> str:
    """An RFC 3339 timestamp as its text; datetimes need a timezone."""
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, str):
        try:
            if parse_time(value).tzinfo is not None and "T" in value.upper():
                return value
        except ValueError:
            pass
    raise MalformedEvent(f"attribute 'time' must be an RFC 3339 timestamp with an offset, not {value!r}", "time")


def parse_time(value: str) -> datetime:
    """RFC 3339 to datetime; more than six fractional digits are cut."""
    if value[-1:] in "zZ":
        value = value[:-1] + "+00:00"
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value.upper()))


def format_time(value: datetime) -> str:
    """datetime to RFC 3339; raises MalformedEvent for one without a timezone."""
    if value.tzinfo is None:
        raise MalformedEvent(f"{value!r} has no timezone: use datetime.now(UTC) or the like", "time")
    return value.isoformat().replace("+00:00", "Z")


def attribute_text(value: object) -> str:
    """The canonical string form of an attribute's value (CloudEvents 1.0, type system)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        import base64

        return base64.b64encode(value).decode()
    return str(value)


def _check_characters(name: str, value: str) -> None:
    if value.isascii() and value.isprintable():
        return
    for character in value:
        code = ord(character)
        if code < 0x20 or 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xDFFF or code & 0xFFFE == 0xFFFE:
            raise MalformedEvent(f"attribute {name!r} holds the character U+{code:04X}, which is not allowed", name)


class Event(Generic[T]):
    """A CloudEvent 1.0, read-only.

    `body` is always bytes; `data` is decoded from it on first use, by `datacontenttype`: JSON types are parsed,
    `text/*` is str, other types are bytes, and no type means what the trigger's `value=` says, by default JSON.
    `Event(attributes, data)` is the CloudEvents SDK's constructor; `Event.of(data, **attributes)` is the short one.

    kafka, http: where the event came from, or None. attempt: 1 for the first try. deadline: when the handler
    has to be done (UTC), or None.
    """

    __slots__ = ("_attributes", "_body", "_data", "_value", "attempt", "deadline", "http", "kafka")

    _attributes: dict[str, Any]
    _body: bytes | None
    _data: Any
    _value: ValueFormat
    kafka: KafkaInfo | None
    http: HttpInfo | None
    attempt: int
    deadline: datetime | None

    def __init__(self, attributes: Mapping[str, Any], data: object = None) -> None:
        checked = {"specversion": "1.0"}
        for name, value in attributes.items():
            if value is not None:
                checked[name] = cast(str, check_attribute(name, value))
        for name in ("id", "source", "type"):
            if name not in checked:
                raise MalformedEvent(f"attribute {name!r} is missing", name)
        body, content_type = encode_data(data, checked.get("datacontenttype"))
        if content_type is not None:
            checked["datacontenttype"] = content_type
        self._set(checked, body)

    def _set(self, attributes: dict[str, Any], body: bytes | None) -> None:
        self._attributes = attributes
        self._body = body
        self._data = _UNSET
        self._value = "json"
        self.kafka = None
        self.http = None
        self.attempt = 1
        self.deadline = None

    @classmethod
    def _trusted(
        cls,
        attributes: dict[str, Any],
        body: bytes | None,
        *,
        value: ValueFormat = "json",
        kafka: KafkaInfo | None = None,
        http: HttpInfo | None = None,
    ) -> Event[Any]:
        """For codecs and sources: attributes are checked already and belong to the event from now on."""
        event: Event[Any] = object.__new__(cls)
        event._attributes = attributes
        event._body = body
        event._data = _UNSET
        event._value = value
        event.kafka = kafka
        event.http = http
        event.attempt = 1
        event.deadline = None
        return event

    @classmethod
    def of(cls, data: object = None, **attributes: Any) -> Event[Any]:
        """An event from data; what is not given gets a default (a random id, source `/upon`, type `upon.event`)."""
        return cls(
            {
                "id": attributes.pop("id", None) or str(uuid4()),
                "source": attributes.pop("source", "/upon"),
                "type": attributes.pop("type", "upon.event"),
                **attributes,
            },
            data,
        )

    def _copy(self, *, data: Any = _UNSET, attempt: int | None = None, deadline: datetime | None = None) -> Event[Any]:
        event: Event[Any] = object.__new__(type(self))
        event._attributes = self._attributes
        event._body = self._body
        event._data = self._data if data is _UNSET else data
        event._value = self._value
        event.kafka = self.kafka
        event.http = self.http
        event.attempt = self.attempt if attempt is None else attempt
        event.deadline = self.deadline if deadline is None else deadline
        return event

    @property
    def id(self) -> str:
        return cast(str, self._attributes["id"])

    @property
    def source(self) -> str:
        return cast(str, self._attributes["source"])

    @property
    def type(self) -> str:
        return cast(str, self._attributes["type"])

    @property
    def subject(self) -> str | None:
        return self._attributes.get("subject")

    @property
    def time(self) -> datetime | None:
        text = self._attributes.get("time")
        return None if text is None else parse_time(text)

    @property
    def datacontenttype(self) -> str | None:
        return self._attributes.get("datacontenttype")

    @property
    def dataschema(self) -> str | None:
        return self._attributes.get("dataschema")

    @property
    def specversion(self) -> str:
        return cast(str, self._attributes["specversion"])

    @property
    def extensions(self) -> dict[str, Any]:
        return {name: value for name, value in self._attributes.items() if name not in CORE_ATTRIBUTES}

    @property
    def body(self) -> bytes:
        return self._body or b""

    @property
    def data(self) -> T:
        """The decoded data, or None where there is none. Raises DataError where it can't be decoded."""
        if self._data is _UNSET:
            self._data = decode_data(self._body, self._attributes.get("datacontenttype"), self._value)
        return cast(T, self._data)

    # The CloudEvents SDK's BaseCloudEvent protocol.

    def get_id(self) -> str:
        return self.id

    def get_source(self) -> str:
        return self.source

    def get_type(self) -> str:
        return self.type

    def get_specversion(self) -> str:
        return self.specversion

    def get_datacontenttype(self) -> str | None:
        return self.datacontenttype

    def get_dataschema(self) -> str | None:
        return self.dataschema

    def get_subject(self) -> str | None:
        return self.subject

    def get_time(self) -> datetime | None:
        return self.time

    def get_extension(self, extension_name: str) -> Any:
        return self._attributes.get(extension_name) if extension_name not in CORE_ATTRIBUTES else None

    def get_data(self) -> dict[str, Any] | str | bytes | None:
        return cast("dict[str, Any] | str | bytes | None", self.data)

    def get_attributes(self) -> dict[str, Any]:
        return {**self._attributes, **({"time": self.time} if "time" in self._attributes else {})}

    def __eq__(self, other: object) -> bool:
        """Equal attributes and equal bytes; where the event came from does not count."""
        if not isinstance(other, Event):
            return NotImplemented
        return self._attributes == other._attributes and self._body == other._body

    def __hash__(self) -> int:
        return hash((self.source, self.id))

    def __repr__(self) -> str:
        shown = self.body if len(self.body) <= 60 else self.body[:57] + b"..."
        return f"Event(id={self.id!r}, source={self.source!r}, type={self.type!r}, body={shown!r})"


def encode_data(data: object, content_type: str | None) -> tuple[bytes | None, str | None]:
    """Data to bytes and its content type. None is no data; bytes go out as they are; the rest is JSON or text."""
    if data is None:
        return None, content_type
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data), content_type or "application/octet-stream"
    if content_type is None or is_json(content_type):
        return _json.dumps(data), content_type or "application/json"
    if isinstance(data, str):
        return data.encode(), content_type
    raise DataError(
        f"data of type {type(data).__name__} can't be written as {content_type!r}: give bytes, or a JSON content type"
    )


def decode_data(body: bytes | None, content_type: str | None, value: ValueFormat = "json") -> Any:
    """Bytes to data by content type; without one, `value` says how."""
    if body is None:
        return None
    if content_type is None:
        if value == "bytes":
            return body
        as_json = value == "json"
    elif is_json(content_type):
        as_json = True
    elif content_type[:5].lower() == "text/":
        as_json = False
    else:
        return body
    if as_json:
        return _json.loads(body)
    try:
        return body.decode(_charset(content_type))
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(f"not text: {error}") from None


def _charset(content_type: str | None) -> str:
    match = re.search(r"charset\s*=\s*\"?([\w.:-]+)", content_type or "", re.IGNORECASE)
    return match.group(1) if match else "utf-8"

