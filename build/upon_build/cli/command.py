"""What every command shares: the example below its help, `--debug`, and the options that several take."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any, TextIO, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

DEBUG = "upon.debug"


def command(name: str, *, example: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A click command with an example in its help and `--debug`."""
    lines = "\n".join(f"  {line}" for line in example.strip().splitlines())

    def make(function: Callable[..., Any]) -> click.Command:
        return click.command(name, epilog=f"\b\nExample:\n{lines}")(debug_option(function))

    return make


def _remember(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.meta[DEBUG] = True


def debug_option(function: F) -> F:
    return click.option(
        "--debug",
        is_flag=True,
        envvar="FUNC_DEBUG",
        expose_value=False,
        is_eager=True,
        callback=_remember,
        help="Show the traceback of an error. Also FUNC_DEBUG=1.",
    )(function)


def output_option(function: F) -> F:
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="text for people, json for scripts.",
    )(function)


def profile_option(default: str) -> Callable[[F], F]:
    return click.option(
        "--profile", metavar="NAME", help=f"Profile of func.yaml. Also FUNC_PROFILE. By default {default!r}."
    )


def bootstrap_option(function: F) -> F:
    return click.option(
        "--bootstrap", metavar="HOST:PORT", help="Kafka's address, in place of the project's; several with commas."
    )(function)


def path_argument(function: F) -> F:
    return click.argument("path", type=click.Path(exists=True), default=".", required=False)(function)


@contextmanager
def own_stdout(output: str) -> Iterator[TextIO]:
    """Our standard output. With JSON on it, what the person's code prints goes to stderr meanwhile."""
    stdout = sys.stdout
    with redirect_stdout(sys.stderr) if output == "json" else nullcontext():
        yield stdout
