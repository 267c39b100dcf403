"""`func invoke`: post one CloudEvent to a running service, with nothing but the standard library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import click

from upon import Event, MalformedEvent, UponError
from upon import _http_codec as codec
from upon_build.cli.command import command, output_option
from upon_build.cli.data import data_options, read_data
from upon_build.cli.exits import Exit, Fault
from upon_build.cli.running import find_running

DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def outcome(self) -> str:
        return self.headers.get("upon-outcome", "")

    def event(self) -> Event[Any] | None:
        """The reply, or None where there is none or it is no CloudEvent."""
        try:
            return codec.read_event(self.headers, self.body) if self.good and self.body else None
        except UponError:
            return None

    def problem(self) -> str:
        """One sentence from an error's body: problem+json where it is one."""
        try:
            problem = json.loads(self.body)
            text = problem.get("detail") or problem.get("title") or ""
            fields = [f"{item['pointer'] or '/'}: {item['reason']}" for item in problem.get("pointers", ())]
        except (ValueError, AttributeError, KeyError, TypeError):
            return self.body[:500].decode("utf-8", "replace").strip()
        return "\n  ".join([text, *(line for line in fields if line not in text)])


@command("invoke", example='func invoke score --data \'{"text": "good"}\' -o json')
@click.argument("function", required=False)
@data_options
@click.option("--type", "type_", metavar="TYPE", default="upon.event", show_default=True, help="The event's type.")
@click.option("--source", metavar="URI", default="/upon/invoke", show_default=True, help="The event's source.")
@click.option("--id", "id_", metavar="ID", help="The event's id; by default a random one.")
@click.option("--url", metavar="URL", help=f"The service; by default this project's `func run`, else {DEFAULT_URL}.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds to wait for the reply.",
)
@output_option
def invoke(
    function: str | None,
    data: str | None,
    file: str | None,
    content_type: str | None,
    type_: str,
    source: str,
    id_: str | None,
    url: str | None,
    timeout: float,
    output: str,
) -> None:
    """Send one event to FUNCTION, or to the function that subscribes to it, and show the reply.

    Exits with 1 unless the answer is 2xx.
    """
    body, media = read_data(data, file, content_type)
    attributes = {"type": type_, "source": source, "id": id_, "datacontenttype": media}
    try:
        event = Event.of(body, **{name: value for name, value in attributes.items() if value is not None})
    except MalformedEvent as error:
        raise Fault(str(error), Exit.USAGE) from None
    running = find_running(Path()) if url is None else None
    answer = post(url or (running.url if running else DEFAULT_URL), function, event, timeout)
    show(answer, output)
    if not answer.good:
        raise click.exceptions.Exit(int(Exit.FAILED))


def post(url: str, function: str | None, event: Event[Any], timeout: float) -> Answer:
    """POST the event in binary mode. Raises Fault when nothing answers at the URL, or not in time (seconds)."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Fault(f"{url!r} is not an HTTP address: write it as {DEFAULT_URL}", Exit.USAGE)
    path = parts.path.rstrip("/") + (f"/functions/{quote(function, safe='')}" if function else "/")
    make = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    try:
        connection = make(parts.hostname, parts.port, timeout=timeout)
    except ValueError as error:
        raise Fault(f"{url!r} is not an HTTP address: {error}", Exit.USAGE) from None
    headers, body = codec.write_binary(event)
    try:
        connection.request("POST", path, body, dict(headers))
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    except TimeoutError:
        raise Fault(f"{url} did not answer within {timeout:g} s: raise --timeout", Exit.TIMEOUT) from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Fault(
            f"no service answers at {url} ({reason}): start it with `func run`, or name its --url", Exit.UNAVAILABLE
        ) from None
    finally:
        connection.close()


def show(answer: Answer, output: str) -> None:
    """Print status and reply; what is not 2xx goes to stderr in text form."""
    event = answer.event()
    if output == "json":
        shown: dict[str, Any] = {"status": answer.status, "event": codec.to_dict(event) if event else None}
        if not answer.good:
            shown |= {"outcome": answer.outcome or None, "error": answer.problem()}
        click.echo(json.dumps(shown, ensure_ascii=False))
    elif not answer.good:
        what = f" {answer.outcome}" if answer.outcome else ""
        click.echo(f"Error: {answer.status}{what}: {answer.problem()}", err=True)
    else:
        click.echo(f"{answer.status} {answer.outcome or 'done'}", err=True)
        click.echo(_pretty(answer, event), nl=bool(answer.body))


def _pretty(answer: Answer, event: Event[Any] | None) -> str:
    try:
        value = json.loads(answer.body)
    except ValueError:
        return answer.body.decode("utf-8", "replace")
    return json.dumps(value, indent=2, ensure_ascii=False)
