"""The Functions, Models, Topics, resources and blueprints of some modules: once each, and no two of one name."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from upon import Function, Model, Resource, Topic
from upon_build.project.options import place, shown_path
from upon_build.project.problems import Problem

Found: TypeAlias = list[tuple[Any, str]]  # with its place


@dataclass(slots=True)
class Objects:
    """What a project consists of, in the order in which it was found. places: by id(object)."""

    functions: list[Function[..., Any]] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    topics: list[Topic] = field(default_factory=list)
    resources: list[Resource[Any]] = field(default_factory=list)
    blueprints: list[Any] = field(default_factory=list)
    places: dict[int, str] = field(default_factory=dict)

    def place(self, thing: object) -> str:
        return self.places.get(id(thing), "")


def collect(modules: Iterable[ModuleType], folder: Path) -> tuple[Objects, list[Problem]]:
    """The objects bound to module-level names; two different ones of one name are a problem naming both places."""
    return _gather(((module, vars(module)) for module in modules), folder)


def collect_around(functions: Iterable[Function[..., Any]], folder: Path) -> tuple[Objects, list[Problem]]:
    """These functions, and what else is bound where they were written: module globals and enclosing variables."""
    functions = list(functions)
    objects, problems = _gather(((None, {"function": f}) for f in functions), folder)
    around = []
    for function in functions:
        names = {**function.plain.__globals__, **dict(_enclosed(function))}
        around.append({name: thing for name, thing in names.items() if not isinstance(thing, Function)})
    rest, more = _gather(((None, names) for names in around), folder)
    rest.functions = objects.functions
    rest.places |= objects.places
    return rest, problems + more


def _enclosed(function: Function[..., Any]) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.plain.__code__.co_freevars, function.plain.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # assigned after the function was written, or never
            continue


def _gather(
    scopes: Iterable[tuple[ModuleType | None, Mapping[str, Any]]], folder: Path
) -> tuple[Objects, list[Problem]]:
    objects = Objects()
    problems: list[Problem] = []
    for module, names in scopes:
        for bound, thing in list(names.items()):
            kept = _list_of(objects, thing)
            if kept is None or any(thing is other for other in kept):
                continue
            objects.places[id(thing)] = _place(module, bound, thing, folder)
            twin = next((other for other in kept if other.name == thing.name), None)
            if twin is None:
                kept.append(thing)
            else:
                problems.append(_duplicate(thing, objects.place(thing), objects.place(twin)))
    return objects, problems


def _list_of(objects: Objects, thing: object) -> list[Any] | None:
    match thing:
        case Function():
            return objects.functions
        case Model():
            return objects.models
        case Topic():
            return objects.topics
        case Resource():
            return objects.resources
    flask = sys.modules.get("flask")
    if flask is not None and isinstance(thing, flask.Blueprint):
        return objects.blueprints
    return None


def _duplicate(thing: Any, here: str, there: str) -> Problem:
    kind = type(thing).__name__.lower()
    remedy = "rename one" if isinstance(thing, (Function, Resource)) else "rename one, or import the first"
    where = f"; the first is in {there}" if there else ""
    return Problem("error", here, f"there are two {kind}s of the name {thing.name!r}{where}", remedy)


def _place(module: ModuleType | None, bound: str, thing: Any, folder: Path) -> str:
    if isinstance(thing, Function):
        return place(thing, folder)
    if isinstance(thing, Resource):
        code = thing._make.__code__
        return f"{shown_path(code.co_filename, folder)}:{code.co_firstlineno}"
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return bound
    return f"{shown_path(file, folder)}:{_line_of(file, bound)}"


def _line_of(file: str, bound: str) -> int:
    """The line that binds a name at module level: an assignment or an import."""
    try:
        body = ast.parse(Path(file).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return 1
    for statement in body:
        match statement:
            case ast.Assign(targets=targets):
                names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names = [alias.asname or alias.name for alias in aliases]
            case _:
                continue
        if bound in names:
            return statement.lineno
    return 1
