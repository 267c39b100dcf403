"""Turns an event's data into the type a handler asks for: strict, by pydantic, with every fault as a JSON pointer."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable
from typing import Any, TypeAlias

from upon import DataError, Event, MissingExtra, UsageError
from upon._event import is_json

Read: TypeAlias = Callable[[Event[Any]], Any]


def reader(wanted: Any) -> Read:
    """A function that gives the event's data as `wanted`, or raises DataError with its pointers.

    bytes is the body as it came. Any and None take the data as decoded. Everything else is validated strictly:
    no number from a string, no truncated float; JSON text gives datetime, Enum, UUID and the like.
    """
    if wanted is bytes:
        return lambda event: event.body
    if wanted in (None, Any):
        return lambda event: event.data
    if wanted in (str, dict, list):
        return _plain_reader(wanted)
    return _validating_reader(wanted)


def _plain_reader(wanted: type) -> Read:
    def read(event: Event[Any]) -> Any:
        data = event.data
        if not isinstance(data, wanted):
            _refuse_bytes(event, data)
            reason = f"expected {wanted.__name__}, got {type(data).__name__}"
            raise DataError(f"data: {reason}", (("", reason),))
        return data

    return read


def _validating_reader(wanted: Any) -> Read:
    try:
        from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
    except ImportError:
        raise MissingExtra("validation of typed payloads", "serve") from None
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(_known_to_pydantic(wanted))
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise UsageError(f"data can't be validated as {wanted!r}: {str(error).splitlines()[0]}") from None

    def read(event: Event[Any]) -> Any:
        try:
            body = event._body
            if body is not None and _is_json_event(event):
                if b"NaN" in body or b"Infinity" in body:
                    _ = event.data  # pydantic's parser takes them, JSON does not
                return adapter.validate_json(body, strict=True)
            return adapter.validate_python(event.data, strict=True)
        except ValidationError as error:
            _refuse_bytes(event, event.data)
            raise data_error(error) from None

    return read


def _refuse_bytes(event: Event[Any], data: object) -> None:
    """Say what is behind the misfit that newcomers meet first: `curl -d` sends a form."""
    if isinstance(data, bytes):
        kind = event.datacontenttype
        raise DataError(f"data of type {kind!r} is taken as bytes: send it with the content type application/json")


def _is_json_event(event: Event[Any]) -> bool:
    content_type = event.datacontenttype
    return event._value == "json" if content_type is None else is_json(content_type)


def data_error(error: Any) -> DataError:
    """A pydantic ValidationError as a DataError; at most 20 faults are listed."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found and found[0]["type"] == "json_invalid":
        return DataError(f"data is not JSON: {found[0]['msg'].removeprefix('Invalid JSON: ')}")
    pointers = tuple((_pointer(fault["loc"]), fault["msg"]) for fault in found[:20])
    first = "; ".join(f"{pointer or 'data'}: {reason}" for pointer, reason in pointers[:3])
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return DataError(f"data does not fit: {first}{more}", pointers)


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def _known_to_pydantic(wanted: Any) -> Any:
    """Before Python 3.12 pydantic refuses typing.TypedDict: give it the same type from typing_extensions."""
    if sys.version_info >= (3, 12):
        return wanted
    if typing.is_typeddict(wanted) and type(wanted).__module__ == "typing":
        import typing_extensions

        hints = typing.get_type_hints(wanted, include_extras=True)
        # With postponed annotations typing.TypedDict takes NotRequired[...] for a required key: look at the hint.
        fields = {
            name: typing_extensions.NotRequired[_known_to_pydantic(_bare(hint))]
            if typing.get_origin(hint) is typing.NotRequired
            or (name in wanted.__optional_keys__ and typing.get_origin(hint) is not typing.Required)
            else _known_to_pydantic(_bare(hint))
            for name, hint in hints.items()
        }
        return typing_extensions.TypedDict(wanted.__name__, fields)  # type: ignore[operator]
    arguments = typing.get_args(wanted)
    origin = typing.get_origin(wanted)
    if not arguments or origin is typing.Literal:
        return wanted
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(map(_known_to_pydantic, arguments))]  # noqa: UP007 - made at run time
    try:
        return origin[tuple(map(_known_to_pydantic, arguments))]
    except TypeError:
        return wanted


def _bare(hint: Any) -> Any:
    origin = typing.get_origin(hint)
    return typing.get_args(hint)[0] if origin in (typing.Required, typing.NotRequired) else hint
