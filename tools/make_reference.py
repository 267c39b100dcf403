"""Writes docs/reference from the code, so that it can't say something else; a test compares the two.

Run `python tools/make_reference.py [FOLDER]`; it needs the extras [all].
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import upon
from upon import Done, Event
from upon._outcome import KINDS
from upon_build.cli.reference import reference
from upon_build.project.kinds import Kind, ListOf, MapOf, Table
from upon_build.project.schema import ROOT
from upon_runtime.metrics import SOURCE_GAUGES, Metrics

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
WIDTH = 100
DECORATORS = ("kafka", "cron", "http", "cloudevent", "options", "batched", "resource")
OBJECTS = ("Event", "KafkaInfo", "HttpInfo", "Model", "Pad", "Topic", "Response", "Retry", "Reject", "Done", "Failed")
VERDICTS = {
    "done": "finished; a Kafka record is committed",
    "final": "trying again can't help: straight to the dead letter",
    "counts": "an attempt: tried again by policy, then the dead letter",
    "busy": "says nothing about the event: never counts, never dead-letters; the source slows down and tries on",
}


def page(title: str, *parts: str) -> str:
    note = "<!-- Written by tools/make_reference.py from the code. -->"
    return "\n\n".join([f"# {title}", note, *(part.strip() for part in parts)]) + "\n"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def fenced(text: str, language: str = "text") -> str:
    return f"```{language}\n{text.strip(chr(10))}\n```"


def func_yaml_page() -> str:
    rows = [(f"`{name}`", kind.doc, default(kind)) for name, kind in keys(ROOT)]
    text = (
        "Lengths of time are seconds or ISO 8601 durations (`PT0.2S`), sizes take `Ki`, `Mi`, `Gi`. Keys that begin"
        " with `x-` are yours. The value in force is the first that somebody says: flag, `FUNC_*` variable, `options`"
        " entry of the function, decorator, profile, func.yaml, default; `func check` shows each with its origin."
        " Sections for the cluster (`registry`, `build`, `deploy`, `models`) are checked already, and wait for the"
        " commands that use them."
    )
    return page("func.yaml", text, table(("key", "meaning", "default"), rows))


def keys(kind: Table, path: str = "") -> Iterator[tuple[str, Kind]]:
    """Every key with its path; `*` stands for a name of the reader's choice, `[]` for an entry of a list."""
    for name, inner in kind.fields.items():
        here = f"{path}.{name}" if path else name
        while isinstance(inner, (ListOf, MapOf)) and isinstance(inner.item, (Table, MapOf)):
            here += "[]" if isinstance(inner, ListOf) else ".*"
            inner = inner.item
        if here == "profiles.*":
            yield here, inner
        elif isinstance(inner, Table):
            yield from keys(inner, here)
        else:
            yield here, inner


def default(kind: Kind) -> str:
    if kind.required:
        return "required"
    shown = kind.default
    if shown in (None, "", [], {}):
        return ""
    if isinstance(shown, bool):
        return f"`{str(shown).lower()}`"
    return f"`{', '.join(map(str, shown)) if isinstance(shown, list) else shown}`"


def outcomes_page() -> str:
    rows = [(f"`{name}`", str(kind.status), kind.verdict, kind.title) for name, kind in KINDS.items()]
    return page(
        "Outcomes",
        "What became of an event, over every way in. The header `Upon-Outcome` of an answer and the label `outcome` of"
        " the metric `upon_events_total` name the kind; errors are `application/problem+json`.",
        table(("outcome", "HTTP", "verdict", "meaning"), rows),
        "`done` without a reply is 204 with an empty body, and 200 with one. `retry`, `overloaded` and `draining` carry"
        " `Retry-After`.",
        "## Verdicts",
        table(("verdict", "what follows"), list(VERDICTS.items())),
    )


def metrics_page() -> str:
    metrics = Metrics()
    metrics.watch(lambda: {"kafka orders": {name: 0 for _, _, name in SOURCE_GAUGES}})
    metrics.inference("model", 1, 0.1)
    metrics.finished("score", [Event.of()], [Done()], 0.1)
    metrics.late("score", Event.of(), 1.0)
    metrics.repeated("score")
    metrics.watch_store(lambda: {"store": "sqlite", "connected": True})
    rows = []
    for family in sorted(metrics.registry.collect(), key=lambda found: found.name):
        labels = [label for label in family.samples[0].labels if label != "le"]
        name = family.name + ("_total" if family.type == "counter" else "")
        rows.append((f"`{name}`", family.type, ", ".join(f"`{label}`" for label in labels), family.documentation))
    return page(
        "Metrics", "`GET /metrics` in Prometheus' text format.", table(("name", "type", "labels", "what"), rows)
    )


def python_page() -> str:
    parts = ["## Decorators"]
    parts += [describe(name, getattr(upon, name)) for name in DECORATORS]
    parts += ["## Objects"]
    parts += [describe(name, getattr(upon, name)) for name in OBJECTS]
    return page("The Python API", "Everything is a name of `upon`: `import upon`.", *parts)


def describe(name: str, thing: Callable[..., Any]) -> str:
    head = f"@upon.{name}" if name in DECORATORS else f"upon.{name}"
    call = head if name == "resource" else signature(head, thing)
    return f"### `{name}`\n\n{fenced(call)}\n\n{inspect.getdoc(thing)}"


def signature(head: str, thing: Callable[..., Any]) -> str:
    shown: list[str] = []
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:  # takes them only to refuse them
            shown.append("*")
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        given = parameter.default
        value = "" if given is parameter.empty else " = ..." if type(given) is object else f" = {given!r}"
        value = " = {}" if value == " = <factory>" else value
        shown.append(f"{stars}{parameter.name}: {parameter.annotation}{value}")
    line = f"{head}({', '.join(shown)})"
    return line if len(line) <= WIDTH else f"{head}(\n    " + ",\n    ".join(shown) + ",\n)"


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": reference,
    "func-yaml.md": func_yaml_page,
    "metrics.md": metrics_page,
    "outcomes.md": outcomes_page,
    "python.md": python_page,
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in PAGES.items():
        (folder / name).write_text(write())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
