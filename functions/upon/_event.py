"""The CloudEvent as a person meets it: attributes, bytes, and data decoded on first use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from upon._attributes import (
    CORE_ATTRIBUTES,
    REQUIRED_ATTRIBUTES,
    attribute_text,
    check_attribute,
    check_time,
    format_time,
    parse_time,
)
from upon._data import ValueFormat, decode_data, encode_data, is_json, is_text_type
from upon._errors import DataError, MalformedEvent, UndecodableData

if TYPE_CHECKING:
    from cloudevents.core.base import BaseCloudEvent

if TYPE_CHECKING:  # a bare `Event` is an Event[Any]; the runtime of Python 3.11 has no defaults
    from typing_extensions import TypeVar as _TypeVar

    T = _TypeVar("T", default=Any)
else:
    T = TypeVar("T")

__all__ = [
    "CORE_ATTRIBUTES",
    "Event",
    "HttpInfo",
    "KafkaInfo",
    "Upload",
    "ValueFormat",
    "attribute_text",
    "check_attribute",
    "check_time",
    "decode_data",
    "encode_data",
    "format_time",
    "is_json",
    "parse_time",
]

UNSET: Any = ...  # a singleton that stays one when an event is pickled


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


class Describes(Protocol):
    """Tells what a plain Kafka record says about its event, once somebody asks."""

    def attributes(self, record: Any) -> dict[str, Any]: ...
    def info(self, record: Any) -> KafkaInfo: ...


class Event(Generic[T]):
    """A CloudEvent 1.0, read-only.

    `body` is always bytes; `data` is decoded from it on first use, by `datacontenttype`: JSON types are parsed,
    `text/*` is str, other types are bytes, and no type means what the trigger's `value=` says, by default JSON.
    `Event(attributes, data)` is the CloudEvents SDK's constructor; `Event.of(data, **attributes)` is the short one.

    kafka, http: where the event came from, or None. attempt: 1 for the first try. deadline: when the handler
    has to be done (UTC), or None.
    """

    __slots__ = (
        "_attempt",
        "_attributes",
        "_body",
        "_data",
        "_deadline",
        "_describes",
        "_http",
        "_kafka",
        "_record",
        "_value",
    )

    _attributes: dict[str, Any]
    _body: bytes | None
    _data: Any
    _value: ValueFormat
    _kafka: KafkaInfo | None
    _http: HttpInfo | None
    _attempt: int
    _deadline: float | None  # seconds since 1970: most handlers never ask for it
    _record: Any  # a plain Kafka record without headers, of which `_describes` knows the rest; else None
    _describes: Describes

    def __init__(self, attributes: Mapping[str, Any], data: object = None) -> None:
        checked: dict[str, Any] = {"specversion": "1.0"}
        for name, value in attributes.items():
            if value is not None:
                checked[name] = check_attribute(name, value)
        for name in REQUIRED_ATTRIBUTES:
            if name not in checked:
                raise MalformedEvent(f"attribute {name!r} is missing", name)
        body, content_type = encode_data(data, checked.get("datacontenttype"))
        if content_type is not None:
            checked["datacontenttype"] = content_type
        self._attributes = checked
        self._body = body
        self._data = UNSET
        self._value = "json"
        self._kafka = None
        self._http = None
        self._attempt = 1
        self._deadline = None
        self._record = None

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
        event._data = UNSET
        event._value = value
        event._kafka = kafka
        event._http = http
        event._attempt = 1
        event._deadline = None
        event._record = None
        return event

    @classmethod
    def of(cls, data: object = None, **attributes: Any) -> Event[Any]:
        """An event from data; what is not given gets a default (a random id, source `/upon`, type `upon.event`)."""
        if attributes.get("id") is None:
            from uuid import uuid4

            attributes["id"] = str(uuid4())
        return cls({"id": "", "source": "/upon", "type": "upon.event", **attributes}, data)

    @classmethod
    def from_cloudevent(cls, event: BaseCloudEvent) -> Event[Any]:
        """An event of the CloudEvents SDK as one of ours. Raises MalformedEvent for what the SDK lets through."""
        return event if isinstance(event, Event) else cls(event.get_attributes(), event.get_data())

    def _copy(self, *, data: Any = UNSET, attempt: int | None = None) -> Event[Any]:
        """The same event with other data, or for another try.

        A new try decodes its data anew: the handler may have changed what the last one was given.
        """
        event: Event[Any] = object.__new__(type(self))
        event._record = self._record
        if self._record is None:
            event._attributes = self._attributes
            event._kafka = self._kafka
        else:
            event._describes = self._describes
        event._body = self._body
        event._data = self._data if data is UNSET and attempt is None else data
        event._value = self._value
        event._http = self._http
        event._attempt = self._attempt if attempt is None else attempt
        event._deadline = self._deadline
        return event

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Most handlers look at the data alone, so a plain record's attributes are made when they are wanted.

            Called only for a slot that holds nothing: whatever has a value never passes here.
            """
            if name == "_attributes":
                made = self._attributes = self._describes.attributes(self._record)
            elif name == "_kafka":
                made = self._kafka = self._describes.info(self._record)
            else:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return made

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        """For copies and pickles: everything made, and no record behind it."""
        kept = (name for name in Event.__slots__ if name not in ("_describes", "_record"))
        return None, {**{name: getattr(self, name) for name in kept}, "_record": None}

    @property
    def kafka(self) -> KafkaInfo | None:
        return self._kafka

    @property
    def _key(self) -> bytes | None:
        """The Kafka record's."""
        if self._record is not None:
            return cast("bytes | None", self._record.key)
        return None if self._kafka is None else self._kafka.key

    @property
    def http(self) -> HttpInfo | None:
        return self._http

    @property
    def attempt(self) -> int:
        return self._attempt

    @property
    def deadline(self) -> datetime | None:
        return None if self._deadline is None else datetime.fromtimestamp(self._deadline, UTC)

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
        return None if self._record is not None else self._attributes.get("datacontenttype")

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
        if self._data is UNSET:
            try:
                self._data = decode_data(self._body, self.datacontenttype, self._value)
            except DataError as error:
                raise UndecodableData(str(error)) from None
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
        """A JSON object as dict, text as str, anything else as the bytes it came in.

        Bytes are what the SDK passes on unchanged; it would write a list as Python's repr of it.
        """
        content_type = self.datacontenttype
        try:
            data = self.data
        except DataError:
            return self._body
        as_text = is_text_type(content_type) if content_type is not None else self._value == "text"
        if isinstance(data, dict) or (isinstance(data, str) and as_text):
            return data
        return self._body

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


def as_event(value: object) -> Event[Any] | None:
    """The value as an Event where it is one, ours or the CloudEvents SDK's."""
    if isinstance(value, Event):
        return value
    if hasattr(value, "get_attributes") and hasattr(value, "get_data"):
        return Event.from_cloudevent(cast("BaseCloudEvent", value))
    return None
