"""`func events`: write and watch the records of a topic, on the Kafka that the project uses right now."""

from __future__ import annotations

import json
import threading

import click

from upon_build.cli.command import bootstrap_option, command, debug_option, output_option, profile_option
from upon_build.cli.data import data_options, read_data
from upon_build.cli.exits import Exit, Fault
from upon_build.cli.kafka import connection_for


@click.group(
    "events",
    epilog='\b\nExample:\n  func events send reviews --key 7 --data \'{"text": "good"}\'\n'
    "  func events tail reviews.scored --from-beginning -n 1 -o json",
)
@debug_option
def events() -> None:
    """Write and watch the records of a topic.

    Which Kafka: --bootstrap, else that of this project's `func run` while it runs, else the one in func.yaml.
    """


@command("send", example='func events send reviews --key 7 --data \'{"text": "good"}\'')
@click.argument("topic")
@data_options
@click.option("-k", "--key", metavar="KEY", help="The record's key, as text.")
@bootstrap_option
@profile_option("dev")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds to wait for the broker's confirmation.",
)
@output_option
def send(
    topic: str,
    data: str | None,
    file: str | None,
    content_type: str | None,
    key: str | None,
    bootstrap: str | None,
    profile: str | None,
    timeout: float,
    output: str,
) -> None:
    """Write one record to TOPIC and wait for its confirmation."""
    from upon._triggers import check_topic
    from upon_triggers.kafka.publisher import KafkaPublisher

    check_topic(topic)
    value, media = read_data(data, file, content_type)
    headers = [("content-type", media.encode())] if media and media != "application/json" else []
    publisher = KafkaPublisher(connection_for(bootstrap, profile), open_timeout=timeout)
    confirmed, errors = threading.Event(), list[BaseException]()

    def on_done(error: BaseException | None) -> None:
        errors.extend([error] if error is not None else [])
        confirmed.set()

    try:
        publisher.open()
        publisher.publish_raw(topic, key.encode() if key is not None else None, value, headers, on_done)
        if not confirmed.wait(timeout):
            raise Fault(f"topic {topic!r}: not confirmed within {timeout:g} s", Exit.TIMEOUT)
        if errors:
            raise errors[0]
    finally:
        publisher.close(1.0)
    size = len(value or b"")
    done = {"topic": topic, "key": key, "bytes": size}
    click.echo(json.dumps(done, ensure_ascii=False) if output == "json" else f"sent {size} bytes to {topic}")


@command("tail", example="func events tail reviews.scored --from-beginning -n 1 -o json")
@click.argument("topic")
@click.option("--from-beginning", is_flag=True, help="Begin with the oldest record instead of the next one.")
@click.option("-n", "--count", type=click.IntRange(min=1), metavar="N", help="End after N records.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Give up after this long without a record, with exit code 3; by default never.",
)
@bootstrap_option
@profile_option("dev")
@output_option
def tail(
    topic: str,
    from_beginning: bool,
    count: int | None,
    timeout: float | None,
    bootstrap: str | None,
    profile: str | None,
    output: str,
) -> None:
    """Show the records of TOPIC as they come, until ctrl-C.

    With -o json one object a line: topic, partition, offset, key, timestamp, and the event in CloudEvents JSON.
    """
    from upon._triggers import check_topic
    from upon_build.cli.records import Tail, as_dict, as_line

    check_topic(topic)
    with Tail(connection_for(bootstrap, profile), topic, from_beginning=from_beginning) as records:
        for number, record in enumerate(records.follow(timeout), 1):
            click.echo(json.dumps(as_dict(record), ensure_ascii=False) if output == "json" else as_line(record))
            if number == count:
                return


events.add_command(send)
events.add_command(tail)
