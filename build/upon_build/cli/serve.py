"""`func serve`: the same server for production and images; no development broker, no reload."""

from __future__ import annotations

import logging
import os

import click

from upon_build.cli import logs
from upon_build.cli.command import command, path_argument, profile_option
from upon_build.cli.project import spec_of
from upon_build.project import load_project
from upon_build.project.deployed import CONFIG

log = logging.getLogger("upon.serve")


@command("serve", example="PORT=8080 func serve")
@path_argument
@click.option("--host", envvar="HOST", default="0.0.0.0", show_default=True, help="Address to listen on. Also $HOST.")
@click.option(
    "--port",
    envvar="PORT",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port; 0 takes a free one. Also $PORT.",
)
@profile_option("prod")
@click.pass_context
def serve(context: click.Context, path: str, host: str, port: int, profile: str | None) -> None:
    """Serve the project in PATH over HTTP, with JSON logs on stderr.

    Kafka and schedules are read here only with `deploy.triggers: direct`; elsewhere events come over HTTP. SIGTERM
    turns readiness off, goes on answering for run.drainDelay, and finishes what is in flight. UPON_CONFIG, where it is
    set, takes the place of a profile.
    """
    from upon_runtime.host import host as run_host
    from upon_runtime.service import Service

    in_force = os.environ.get(CONFIG)
    with load_project(path, profile=profile, env=os.environ, default_profile="prod", in_force=in_force) as project:
        logs.configure(as_json=True)
        spec = spec_of(project, lambda problem: log.warning("%s", problem))

        def on_ready(service: Service, url: str) -> None:
            fields = {"event": "ready", "url": url, "service": spec.name, "profile": project.profile}
            log.info("%s is ready at %s", spec.name, url, extra={"fields": fields})

        code = run_host(
            spec,
            (host, port),
            sources=project.settings["deploy.triggers"] == "direct",
            drain_delay=spec.drain_delay,
            on_ready=on_ready,
            on_drain=lambda: log.info("stopping", extra={"fields": {"event": "stopping"}}),
        )
        log.info("stopped", extra={"fields": {"event": "stopped", "exitCode": code}})
    context.exit(code)
