"""`func triggers run`: the project's Kafka and cron triggers here, its functions behind a URL."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from upon_build.cli import broker, logs
from upon_build.cli.activity import Activity
from upon_build.cli.command import (
    bootstrap_option,
    command,
    debug_option,
    output_option,
    own_stdout,
    path_argument,
    profile_option,
)

if TYPE_CHECKING:
    from upon_build.project.codeless import CodelessProject
    from upon_runtime.service import Service
    from upon_runtime.spec import ServiceSpec
    from upon_triggers.http_sink import HttpSink

PORT = 8081


@click.group("triggers", epilog="\b\nExample:\n  func triggers run --sink http://127.0.0.1:8080")
@debug_option
def triggers() -> None:
    """Run a project's triggers apart from its functions."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line said. manifest: None is made here; timeout: seconds for every function."""

    path: str
    sink: str
    manifest: str | None
    host: str
    port: int
    profile: str | None
    bootstrap: str | None
    group: str | None
    concurrency: int
    timeout: float | None
    one_by_one: bool
    output: str


@command(
    "run",
    example="func triggers run --sink http://127.0.0.1:8080\n"
    "func triggers run --sink http://reviews.ml.svc.cluster.local --manifest manifest.json --host 0.0.0.0",
)
@path_argument
@click.option("--sink", required=True, metavar="URL", help="The service that runs the functions.")
@click.option(
    "--manifest",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="The project's manifest; without it the project's code is imported once, in another process.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address for probes and metrics.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Port for probes and metrics; 0 takes a free one.",
)
@click.option(
    "--concurrency", type=click.IntRange(min=1), default=64, show_default=True, help="Requests at once, in all."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="For an answer. By default a function's timeout and run.startTimeout, for a service scaled to zero.",
)
@click.option("--one-by-one", is_flag=True, help="Never send several events in one request.")
@bootstrap_option
@click.option("--group", metavar="NAME", help="Consumer group; with several Kafka triggers NAME.FUNCTION.")
@profile_option("dev, with --manifest prod")
@output_option
@click.pass_context
def run(context: click.Context, /, **given: Any) -> None:
    """Run the Kafka and cron triggers of the project in PATH, and post their events to the service at --sink.

    The service may be down, starting or scaled to zero: its events wait and go on. /health/readiness, /health/liveness
    and /metrics are answered here. Settings are those of func.yaml in PATH, else the manifest's copy of it;
    UPON_CONFIG, where it is set, takes the place of a profile. In a pod with UPON_CRON_STORE=lease, replicas share
    their schedules in Leases of its namespace.

    Consumer groups are those of `func run`, with its suffix .local.USER for a Kafka that is not on this machine; with
    --manifest those of `func serve`. With -o json each line is an object; the first has "event": "ready".
    """
    context.exit(_run(Flags(**given)))


def _run(flags: Flags) -> int:
    from upon_runtime.trigger_host import run_triggers

    with own_stdout(flags.output) as stdout:
        project, seconds = _project(flags)
        with project:
            for problem in project.problems:
                if problem.severity == "warning":
                    click.echo(f"Warning: {problem}", err=True)
            spec = _spec(project, flags)
            logs.configure(as_json=flags.output == "json")
            screen = Screen(stdout, flags, spec, project.profile, seconds)
            activity = Activity(screen.report)
            try:
                code = run_triggers(
                    spec,
                    _sink(spec, flags),
                    (flags.host, flags.port),
                    on_ready=screen.ready,
                    on_drain=screen.draining,
                    observers=(activity,),
                    logged=flags.output == "json",
                )
            finally:
                activity.close()
            screen.stopped(code)
    return code


def _project(flags: Flags) -> tuple[CodelessProject, float | None]:
    """The project without its code, and the seconds that an import took, where there was one."""
    from upon_build.project.codeless import codeless
    from upon_build.project.file import find_file
    from upon_build.project.making import make_manifest
    from upon_build.project.manifest import read_manifest

    folder = Path(flags.path)
    default = "prod" if flags.manifest else "dev"
    seconds: float | None = None
    if flags.manifest:
        found = read_manifest(Path(flags.manifest).read_bytes(), flags.manifest)
        folder = folder if folder.is_dir() else folder.parent
    else:
        folder = find_file(folder).parent
        found, seconds = make_manifest(folder, flags.profile or os.environ.get("FUNC_PROFILE") or default)
    overlaid = {"kafka.bootstrap": flags.bootstrap}
    project = codeless(found, folder, profile=flags.profile, default_profile=default, env=os.environ, flags=overlaid)
    return project, seconds


def _spec(project: CodelessProject, flags: Flags) -> ServiceSpec:
    project.service_spec()  # errors first
    suffix = "" if flags.manifest else broker.suffix_of(project.kafka_connection(), flags.group)
    return broker.with_group(project.service_spec(group_suffix=suffix), flags.group)


def _sink(spec: ServiceSpec, flags: Flags) -> HttpSink:
    from upon_triggers.http_sink import HttpSink

    timeouts = {one.name: flags.timeout or one.timeout + spec.start_timeout for one in spec.functions}
    return HttpSink(flags.sink, timeouts=timeouts, concurrency=flags.concurrency, batches=not flags.one_by_one)


class Screen:
    """What the command says on stdout: for people, or as one JSON object a line."""

    def __init__(self, stdout: TextIO, flags: Flags, spec: ServiceSpec, profile: str, seconds: float | None) -> None:
        from upon_build.cli.console import Console, JsonReport, TextReport, json_writer
        from upon_build.cli.screen import replies_of

        self._flags = flags
        self._spec = spec
        self._profile = profile
        self._seconds = seconds
        self._json = json_writer(stdout) if flags.output == "json" else None
        self._console = Console(stdout)
        replies = replies_of(spec)
        self.report = TextReport(self._console, replies) if self._json is None else JsonReport(self._json, replies)

    def ready(self, service: Service, url: str) -> None:
        from upon_build.cli.screen import address_of

        sources = [source.name for source in service.sources]
        kafka = address_of(self._spec)
        if self._json is not None:
            self._json(
                {
                    "event": "ready",
                    "url": url,
                    "sink": self._flags.sink,
                    "kafka": kafka,
                    "service": self._spec.name,
                    "profile": self._profile,
                    "sources": sources,
                    "groupSuffix": self._spec.group_suffix or None,
                    "importSeconds": self._seconds,
                    "pid": os.getpid(),
                }
            )
            return
        for line in self._lines(url, kafka, sources):
            self._console.line(line, stamped=False)

    def _lines(self, url: str, kafka: str | None, sources: Sequence[str]) -> list[str]:
        imported = [] if self._seconds is None else [f"  the project's code was imported in {self._seconds:.2f} s"]
        suffix = self._spec.group_suffix
        return [
            f"{self._console.paint(self._spec.name, 'green')}, profile {self._profile}, triggers only",
            *imported,
            f"  sink   {self._flags.sink}",
            f"  probes {url}/health/readiness",
            *([f"  kafka  {kafka}"] if kafka else []),
            *([f"         consumer groups end in {suffix}"] if suffix else []),
            *(f"  {source}" for source in sources),
            *([] if sources else ["  there is no Kafka or cron trigger"]),
            "Ready. ctrl-C finishes what is in flight and ends.",
        ]

    def draining(self) -> None:
        if self._json is not None:
            self._json({"event": "stopping"})
        else:
            self._console.line("stopping: finishing what is in flight; ctrl-C again ends at once")

    def stopped(self, code: int) -> None:
        if self._json is not None:
            self._json({"event": "stopped", "exitCode": code})
        else:
            self._console.line("stopped" if code == 0 else "stopped before everything was finished")


@command("manifest", example="func triggers manifest > manifest.json")
@path_argument
@profile_option("dev")
def manifest(path: str, profile: str | None) -> None:
    """Write the manifest of the project in PATH to standard output: what its code says, for `run --manifest`."""
    from upon_build.project.file import find_file
    from upon_build.project.making import make_manifest

    chosen = profile or os.environ.get("FUNC_PROFILE") or "dev"
    made = make_manifest(find_file(Path(path)).parent, chosen)
    click.echo(made.manifest.to_bytes().decode(), nl=False)


triggers.add_command(run)
triggers.add_command(manifest)
