"""The kinds of values that func.yaml holds. Each knows how to read one from YAML or text, and its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

DURATION = re.compile(r"P(?=.)(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?\Z")
SIZE = re.compile(r"(\d+)\s*(Ki|Mi|Gi|Ti|k|M|G|T)?B?\Z")
_FACTORS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


class Unfit(ValueError):
    """A value is not of its kind; whoever asked knows the place and says what would be."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One value. default: as it is written in func.yaml; None is no default. secret: never shown."""

    doc: str = ""
    default: Any = None
    required: bool = False
    secret: bool = False

    def what(self) -> str:
        """What a good value is, to follow `must be`."""
        raise NotImplementedError

    def read(self, value: Any) -> Any:
        """The value in our terms (seconds, bytes); raises ValueError where it is no such value."""
        raise NotImplementedError

    def parse(self, text: str) -> Any:
        """The same from a variable's or a flag's text."""
        return self.read(text)

    def schema(self) -> dict[str, Any]:
        raise NotImplementedError

    def json_schema(self) -> dict[str, Any]:
        own = self.schema()
        if self.doc:
            own["description"] = self.doc
        if self.default is not None:
            own["default"] = self.default
        return own


@dataclass(frozen=True, kw_only=True)
class Text(Kind):
    """A string; meaning: what it must be where pattern says more."""

    pattern: str = ""
    meaning: str = "a string"

    def what(self) -> str:
        return self.meaning

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or (self.pattern and not re.fullmatch(self.pattern, value)):
            raise Unfit
        return str(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", **({"pattern": f"^(?:{self.pattern})$"} if self.pattern else {})}


@dataclass(frozen=True, kw_only=True)
class Choice(Kind):
    choices: tuple[str, ...]

    def what(self) -> str:
        return " or ".join(map(repr, self.choices)) if len(self.choices) < 3 else "one of " + ", ".join(self.choices)

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise Unfit
        return str(value)

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.choices)}


@dataclass(frozen=True, kw_only=True)
class Whole(Kind):
    minimum: int = 0
    maximum: int | None = None

    def what(self) -> str:
        return f"a whole number {_bounds(self.minimum, self.maximum)}"

    def read(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Unfit
        if value < self.minimum or (self.maximum is not None and value > self.maximum):
            raise Unfit
        return int(value)

    def parse(self, text: str) -> int:
        return self.read(int(text))

    def schema(self) -> dict[str, Any]:
        return _limited({"type": "integer"}, self.minimum, self.maximum)


def _bounds(minimum: int, maximum: int | None) -> str:
    return f">= {minimum}" if maximum is None else f"from {minimum} to {maximum}"


def _limited(schema: dict[str, Any], minimum: int, maximum: int | None) -> dict[str, Any]:
    return {**schema, "minimum": minimum, **({} if maximum is None else {"maximum": maximum})}


@dataclass(frozen=True, kw_only=True)
class Flag(Kind):
    def what(self) -> str:
        return "true or false"

    def read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise Unfit
        return value

    def parse(self, text: str) -> bool:
        known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in known:
            raise Unfit
        return known[text.lower()]

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, kw_only=True)
class Duration(Kind):
    """Seconds as a number, or ISO 8601 such as PT0.2S; read as seconds. zero: whether 0 is allowed."""

    zero: bool = True

    def what(self) -> str:
        return f"a duration{'' if self.zero else ' > 0'} in seconds, or ISO 8601 such as PT0.2S or PT5M"

    def read(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise Unfit
        seconds = _seconds(value) if isinstance(value, str) else float(value)
        if not 0 <= seconds < 1e9 or (seconds == 0 and not self.zero):
            raise Unfit
        return seconds

    def parse(self, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            return self.read(text)
        return self.read(number)

    def schema(self) -> dict[str, Any]:
        number = {"type": "number", "minimum" if self.zero else "exclusiveMinimum": 0}
        return {"anyOf": [number, {"type": "string", "pattern": f"^{DURATION.pattern[:-2]}$"}]}


def _seconds(text: str) -> float:
    match = DURATION.match(text)
    if match is None:
        raise Unfit
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


@dataclass(frozen=True, kw_only=True)
class Size(Kind):
    """Bytes as a number, or with a unit such as 16Mi; read as bytes."""

    def what(self) -> str:
        return "a size > 0 in bytes, or with a unit such as 16Mi or 10Gi"

    def read(self, value: Any) -> int:
        if isinstance(value, str):
            match = SIZE.match(value)
            if match is None:
                raise Unfit
            value = int(match[1]) * _FACTORS.get(match[2] or "", 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise Unfit
        return int(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": f"^{SIZE.pattern[:-2]}$"}]}


@dataclass(frozen=True, kw_only=True)
class Quantity(Kind):
    """A Kubernetes quantity such as 500m, 2 or 1Gi, kept as it is written."""

    _PATTERN: ClassVar[str] = r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?"

    def what(self) -> str:
        return "a Kubernetes quantity such as 500m, 2 or 1Gi"

    def read(self, value: Any) -> str:
        if isinstance(value, bool) or not re.fullmatch(self._PATTERN, str(value)):
            raise Unfit
        return str(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": f"^{self._PATTERN}$"}]}


@dataclass(frozen=True, kw_only=True)
class DeadLetter(Text):
    """`none`, written out, or a mapping with the topic's name; read as the text that Delivery takes."""

    def what(self) -> str:
        return "`none`, or a mapping such as {topic: reviews.dead}"

    def read(self, value: Any) -> str:
        if isinstance(value, Mapping) and set(value) == {"topic"} and value["topic"] != "none":
            return super().read(value["topic"])
        if value != "none":
            raise Unfit
        return "none"

    def parse(self, text: str) -> str:
        return super().read(text)

    def schema(self) -> dict[str, Any]:
        mapping = {"type": "object", "properties": {"topic": super().schema()}, "required": ["topic"]}
        return {"anyOf": [{"const": "none"}, {**mapping, "additionalProperties": False}]}


@dataclass(frozen=True, kw_only=True)
class ListOf(Kind):
    """A list. or_one: a single value, or several with commas, will do. key: the part by which items are one."""

    item: Kind
    minimum: int = 0
    or_one: bool = False
    key: str = ""

    def what(self) -> str:
        return "a list" + (" with at least one entry" if self.minimum else "")

    def parse(self, text: str) -> list[Any]:
        return [self.item.parse(part.strip()) for part in text.split(",") if part.strip()]

    def schema(self) -> dict[str, Any]:
        items: dict[str, Any] = {"type": "array", "items": self.item.json_schema()}
        if self.minimum:
            items["minItems"] = self.minimum
        return {"anyOf": [items, {"type": "string"}]} if self.or_one else items


@dataclass(frozen=True, kw_only=True)
class MapOf(Kind):
    """A mapping from names that the person chooses. keys: what a name must be."""

    item: Kind
    keys: Text = field(default_factory=Text)

    def what(self) -> str:
        return "a mapping"

    def schema(self) -> dict[str, Any]:
        own: dict[str, Any] = {"type": "object", "additionalProperties": self.item.json_schema()}
        if self.keys.pattern:
            own["propertyNames"] = {"pattern": f"^(?:{self.keys.pattern})$"}
        return own


@dataclass(frozen=True, kw_only=True)
class Table(Kind):
    """A mapping with known keys. ref: its name among the JSON Schema's definitions."""

    fields: Mapping[str, Kind]
    ref: str = ""

    def what(self) -> str:
        return f"a mapping with keys such as {', '.join(list(self.fields)[:3])}"

    def leaves(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Kind]]:
        """Every value that is not a Table, with its path."""
        for name, kind in self.fields.items():
            if isinstance(kind, Table):
                yield from kind.leaves((*path, name))
            else:
                yield (*path, name), kind

    def json_schema(self) -> dict[str, Any]:
        return {"$ref": f"#/$defs/{self.ref}"} if self.ref else super().json_schema()

    def schema(self) -> dict[str, Any]:
        own: dict[str, Any] = {
            "type": "object",
            "properties": {name: kind.json_schema() for name, kind in self.fields.items()},
            "patternProperties": {"^x-": {}},
            "additionalProperties": False,
        }
        required = [name for name, kind in self.fields.items() if kind.required]
        return {**own, "required": required} if required else own
