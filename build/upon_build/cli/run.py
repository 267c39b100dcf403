"""`func run`: the whole project on this machine, Kafka included, with its life in readable lines."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, TextIO

import click

from upon_build.cli import broker, logs, reload
from upon_build.cli.activity import Activity
from upon_build.cli.command import bootstrap_option, command, output_option, own_stdout, path_argument, profile_option
from upon_build.cli.console import Console
from upon_build.cli.project import profile_shown, spec_of
from upon_build.cli.running import announced
from upon_build.cli.screen import JsonScreen, Screen, TextScreen, address_of
from upon_build.project import Project, load_project, read_project


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line said. embedded: the parent's broker; parent_pipe: the run ends with the parent."""

    path: str
    host: str
    port: int
    bootstrap: str | None
    group: str | None
    profile: str | None
    tick: bool
    output: str
    embedded: str | None
    parent_pipe: int | None

    def settings(self) -> dict[str, Any]:
        return {"kafka.bootstrap": self.bootstrap}

    def for_child(self, embedded: str | None) -> list[str]:
        """The command line of the child that --reload starts."""
        valued = {
            "--host": self.host,
            "--port": str(self.port),
            "--bootstrap": self.bootstrap,
            "--group": self.group,
            "--profile": self.profile,
            "--output": self.output,
            "--embedded": embedded,
        }
        flags = [f"{name}={value}" for name, value in valued.items() if value is not None]
        return [*flags, *(["--tick"] if self.tick else []), "--", self.path]


@command("run", example="func run --reload --tick\nfunc run --port 0 -o json")
@path_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 takes a free one."
)
@bootstrap_option
@click.option("--group", metavar="NAME", help="Consumer group; with several Kafka triggers NAME.FUNCTION.")
@profile_option("dev")
@click.option("--reload", "reloading", is_flag=True, help="Start again after each change of a file.")
@click.option("--tick", is_flag=True, help="Fire every cron trigger once at start.")
@output_option
@click.option("--embedded", hidden=True)
@click.option("--parent-pipe", type=int, hidden=True)
@click.pass_context
def run(context: click.Context, /, reloading: bool, **given: Any) -> None:
    """Run the project in PATH: HTTP, schedules and Kafka, until ctrl-C.

    Without kafka.bootstrap in func.yaml a development broker is started, in memory. With one that is not on this
    machine, consumer groups get the suffix .local.USER, so that they take nothing from a real service; --group
    names the group instead.

    With -o json each line is an object; the first one, with "event": "ready", has "url" and "kafka". The first
    ctrl-C or SIGTERM finishes what is in flight, the second ends at once.
    """
    flags = Flags(**given)
    context.exit(_run_reloading(flags) if reloading else _run_once(flags))


def _run_reloading(flags: Flags) -> int:
    """The parent reads func.yaml alone: whatever is broken in the person's code is the child's to tell."""
    reload.check_extra()
    project = read_project(flags.path, profile=flags.profile, env=os.environ, flags=flags.settings())
    flags = replace(flags, port=flags.port or _free_port(flags.host))  # one port for every restart
    with ExitStack() as stack:
        embedded = None if project.bootstrap else broker.start_broker(stack)
        return reload.supervise(flags.for_child(embedded), project.folder, Console(sys.stderr).line)


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as found:
        found.bind((host, 0))
        return int(found.getsockname()[1])


def _run_once(flags: Flags) -> int:
    if flags.parent_pipe is not None:
        reload.end_with_parent(flags.parent_pipe)
    with ExitStack() as stack:
        stdout = stack.enter_context(own_stdout(flags.output))
        project = load_project(
            flags.path, profile=flags.profile, env=os.environ, flags=flags.settings(), default_profile="dev"
        )
        return _serve(stack.enter_context(project), flags, stack, stdout)


def _serve(project: Project, flags: Flags, stack: ExitStack, stdout: TextIO) -> int:
    from upon_runtime.host import host
    from upon_runtime.service import Service
    from upon_runtime.sources import fire_all

    spec_of(project)  # errors first: no broker for a project that can't run
    as_json = flags.output == "json"
    logs.configure(as_json=as_json)
    connection = broker.connection_of(project, flags.embedded, stack)
    suffix = broker.suffix_of(connection, flags.group)
    spec = broker.with_group(project.service_spec(kafka=connection, group_suffix=suffix), flags.group)
    shown = profile_shown(project, flags.profile)
    screen: Screen = JsonScreen(stdout, spec, project.profile) if as_json else TextScreen(stdout, spec, shown)
    activity = Activity(screen.report)

    def on_ready(service: Service, url: str) -> None:
        embedded = spec.kafka is not None and spec.kafka.embedded
        stack.enter_context(announced(project.folder, url, address_of(spec), embedded))
        screen.ready(url)
        if flags.tick:
            screen.ticked(fire_all(service))

    try:
        code = host(
            spec,
            (flags.host, flags.port),
            sources=True,
            drain_delay=0.0,
            on_ready=on_ready,
            on_drain=screen.draining,
            observers=(activity,),
            logged=as_json,  # as text, the screen tells failures itself
        )
    finally:
        activity.close()
    screen.stopped(code)
    return code
