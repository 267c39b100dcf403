"""The reference of the command line as Markdown, made from the commands themselves.

`python -m upon_build.cli.reference` writes it to standard output; a test compares it with docs/reference/cli.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from upon_build.cli.app import COMMANDS, main
from upon_build.cli.exits import MEANINGS

HEAD = """# The command line

`func` is also installed as `upon`; `python -m upon` is the same. This page is generated from the commands' own help.
"""


def reference() -> str:
    """The whole page."""
    context = click.Context(main, info_name="func")
    parts = [HEAD, *_exit_codes()]
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        parts += _pages(command, click.Context(command, info_name=name, parent=context))
    return "\n".join(parts)


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n\n| code | meaning |\n| --- | --- |"
    for code, meaning in MEANINGS.items():
        yield f"| {int(code)} | {meaning} |"
    yield ""


def _pages(command: click.Command, context: click.Context) -> Iterator[str]:
    yield from _page(command, context)
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from _pages(inner, click.Context(inner, info_name=name, parent=context))


def _page(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"## {context.command_path}\n"
    yield f"    {' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    yield "| option | meaning |\n| --- | --- |"
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            yield f"| `{_names(parameter)}` | {_meaning(parameter)} |"
    _, _, example = (command.epilog or "").partition("Example:\n")
    yield "\nFor example:\n"
    yield from (f"    {line.strip()}" for line in example.splitlines())
    yield ""


def _names(option: click.Option) -> str:
    names = ", ".join(option.opts)
    if option.is_flag:
        return names
    if isinstance(option.type, click.Choice):
        return f"{names} {' or '.join(map(str, option.type.choices))}"
    return f"{names} {option.metavar or option.type.name.upper().partition(' ')[0]}"


def _meaning(option: click.Option) -> str:
    default = f" Default: `{option.default}`." if option.show_default and not option.is_flag else ""
    return f"{(option.help or '').replace('|', '/')}{default}"


if __name__ == "__main__":
    print(reference(), end="")
