"""The command group and the one place where errors become messages and exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from upon_build.cli.command import DEBUG, debug_option
from upon_build.cli.exits import MEANINGS, fault_from
from upon_build.cli.leave import leave

# name: (module, help); the help stands here so that `func --help` imports no command.
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Author": {
        "create": ("create", "Make a new project from a template."),
        "check": ("check", "Load everything and say what is there and what is wrong."),
    },
    "Local": {
        "run": ("run", "Run the project here: server, triggers, development broker."),
        "serve": ("serve", "Run the server for production and images."),
        "invoke": ("invoke", "Send one event to a running service and show the reply."),
        "events": ("events", "Write and watch the records of a topic."),
    },
    "Ship": {
        "lock": ("lock", "Resolve the image's packages and hash its models, into func.lock."),
        "build": ("build", "Build the project as a container image, and push it."),
        "cache": ("cache", "Look at what builds keep on this machine, and prune it."),
        "render": ("render", "Write the Kubernetes objects of the project."),
    },
    "Operate": {
        "dlq": ("dlq", "Look at dead letters, replay them, delete them."),
    },
    "Cluster": {
        "triggers": ("triggers", "Run a project's triggers apart from its functions."),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own, imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found = getattr(import_module(f"upon_build.cli.{COMMANDS[cmd_name][0]}"), cmd_name)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, 1)
            remedy = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(COMMANDS)}."
            ctx.fail(f"No such command {args[0]!r}. {remedy}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, help) for name, (_, help) in commands.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), meaning) for code, meaning in MEANINGS.items()])
        super().format_epilog(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, (click.ClickException, click.Abort)) or type(error).__module__ == "click.exceptions":
                raise
            fault = fault_from(error)
            if fault is None:
                raise
            if ctx.meta.get(DEBUG):
                import traceback

                traceback.print_exc()
            raise fault from None

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        try:
            return super().main(args, *rest, **extra)
        except SystemExit as end:
            if args is None:  # from a shell: the process is ours
                leave(end.code)
            raise

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Under `python -m upon` too, help and errors speak of `func`."""
        return super().make_context(info_name if info_name in ("func", "upon") else "func", args, parent, **extra)


def _print_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from upon import __version__

        click.echo(f"upon {__version__}")
        context.exit()


@click.group(
    "func",
    cls=LazyGroup,
    epilog="\b\nExample:\n  func create demo --template onnx && cd demo && func check && func run",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version."
)
@debug_option
def main() -> None:
    """Event-driven functions for machine learning: write a decorated function, run it anywhere."""
