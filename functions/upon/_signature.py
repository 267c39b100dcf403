"""What a handler takes, read from its one parameter's annotation: one answer for check and run time."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from upon._errors import UsageError
from upon._event import Event

Form: TypeAlias = Literal["nothing", "event", "data"]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a handler takes.

    batch: a list of what `form` says, several events at once. form: nothing at all, the Event, or its data
    alone. type: what the data is validated as; None is no validation (`Event`, `Event[Any]`, `list[Any]`).
    """

    batch: bool
    form: Form
    type: Any = None


def analyse(plain: Callable[..., Any]) -> Signature:
    """Read a handler's signature.

    No annotation, `Event` or `Any` is the event; `Event[T]` the event with data as T; any other T the data
    alone; `list[...]` of these a batch; no parameter nothing. An array payload is `Event[list[T]]`.

    Raises UsageError for a signature that no event can be given to.
    """
    name = getattr(plain, "__name__", repr(plain))
    parameter = _only_parameter(name, plain)
    if parameter is None:
        return Signature(batch=False, form="nothing")
    where = f"{name}({parameter.name}: {_text(parameter.annotation)})"
    if parameter.annotation is inspect.Parameter.empty:
        return Signature(batch=False, form="event")
    annotation = _unalias(_resolve(where, plain, parameter))
    if annotation is list:
        raise UsageError(
            f"{where} does not say a list of what: write list[Event] for a batch of events, or Event[list[T]]"
            " for one event whose data is an array"
        )
    if typing.get_origin(annotation) is list:
        return _one(where, _unalias(typing.get_args(annotation)[0]), batch=True)
    return _one(where, annotation, batch=False)


def _one(where: str, annotation: Any, *, batch: bool) -> Signature:
    if _is_sdk_event(where, annotation):
        return Signature(batch, "event")
    if annotation is Event or annotation is Any or annotation is object:
        return Signature(batch, "data" if batch and annotation is not Event else "event")
    if typing.get_origin(annotation) is Event:
        data = _unalias(typing.get_args(annotation)[0])
        _refuse_events_inside(where, data)
        return Signature(batch, "event", None if data is Any or data is object else data)
    if annotation is type(None):
        raise UsageError(f"{where} takes nothing: remove the parameter")
    _refuse_events_inside(where, annotation)
    return Signature(batch, "data", annotation)


def _is_sdk_event(where: str, annotation: Any) -> bool:
    """The CloudEvents SDK's protocol, which Event satisfies; its classes are something else."""
    if not str(getattr(annotation, "__module__", "")).startswith("cloudevents."):
        return False
    if getattr(annotation, "__name__", "") == "BaseCloudEvent":
        return True
    raise UsageError(
        f"{where} would need an event of the SDK's own class: annotate upon.Event, or"
        " cloudevents.core.base.BaseCloudEvent, which upon.Event satisfies"
    )


def _only_parameter(name: str, plain: Callable[..., Any]) -> inspect.Parameter | None:
    positional: list[inspect.Parameter] = []
    for parameter in inspect.signature(plain).parameters.values():
        required = parameter.default is inspect.Parameter.empty
        if parameter.kind is parameter.KEYWORD_ONLY:
            if required:
                raise UsageError(
                    f"{name} has the required keyword {parameter.name!r}, which nobody gives: add a default"
                )
        elif parameter.kind is parameter.VAR_POSITIONAL and not positional:
            raise UsageError(f"{name}(*{parameter.name}) does not say what it takes: name one parameter, such as event")
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            if required and positional:
                raise UsageError(
                    f"{name} has more than one required parameter ({positional[0].name}, {parameter.name}):"
                    " a handler is given one, the event or its data"
                )
            positional.append(parameter)
    return positional[0] if positional else None


def _resolve(where: str, plain: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The annotation as a type. Only this one: a name that is missing in another annotation does no harm."""
    inner = inspect.unwrap(plain)
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        hints = typing.get_type_hints(
            holder, getattr(inner, "__globals__", {}), dict(_enclosed(inner)), include_extras=True
        )
    except NameError as error:
        missing = error.name or str(error)
        raise UsageError(
            f"{where}: the annotation needs {missing!r}, which is not there at run time: import or define it"
            " at module level, not under `if TYPE_CHECKING`"
        ) from None
    except Exception as error:  # evaluating an annotation runs code of the person's
        raise UsageError(f"{where}: the annotation can't be read: {type(error).__name__}: {error}") from None
    return hints[parameter.name]


def _enclosed(plain: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    code = getattr(plain, "__code__", None)
    if code is None:
        return
    for name, cell in zip(code.co_freevars, getattr(plain, "__closure__", None) or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def _unalias(annotation: Any) -> Any:
    """See through `Annotated[Event, ...]` and `type Batch = list[Event]`; Annotated data stays."""
    while True:
        if typing.get_origin(annotation) is Annotated and _mentions_event(annotation):
            annotation = typing.get_args(annotation)[0]
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def _mentions_event(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if annotation is Event or origin is Event:
        return True
    if isinstance(annotation, type) and origin is None and issubclass(annotation, Event):
        return True
    return any(_mentions_event(argument) for argument in typing.get_args(annotation))


def _refuse_events_inside(where: str, annotation: Any) -> None:
    if _mentions_event(annotation):
        raise UsageError(
            f"{where} is none of the forms a handler can take: write Event, Event[T], T, or list[...] of one of them"
        )


def _text(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    return inspect.formatannotation(annotation).replace("upon._event.", "")
