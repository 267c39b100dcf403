"""A question before what can't be taken back."""

from __future__ import annotations

import sys

import click

from upon_build.cli.exits import Exit, Fault

yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")


def confirm(question: str, yes: bool) -> None:
    """Ask on a terminal. Raises Fault elsewhere, and when the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Fault("there is no terminal to ask on: add --yes, or look first with --dry-run", Exit.USAGE)
    if not click.confirm(question, err=True):
        raise Fault("nothing was done")
