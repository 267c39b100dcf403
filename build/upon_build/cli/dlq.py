"""`func dlq`: what was given up, looked at, sent back to where it came from, and thrown away."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click

from upon_build.cli.ask import yes_option
from upon_build.cli.command import bootstrap_option, command, debug_option, output_option, own_stdout, profile_option
from upon_build.cli.dlq_filters import filter_from, filter_options, rate
from upon_build.cli.dlq_purge import purge
from upon_build.cli.kafka import connection_for

limit_option = click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="At most N letters.")


@click.group(
    "dlq",
    epilog="\b\nExample:\n  func dlq ls\n  func dlq show orders.pack.dead --since 2h\n"
    "  func dlq replay orders.pack.dead --kind error --dry-run",
)
@debug_option
def dlq() -> None:
    """Look at dead letters, replay them, delete them.

    TOPIC is a dead-letter topic, or a function of this project that has one. Which Kafka: --bootstrap, else that of
    this project's `func run` while it runs, else the one in func.yaml.
    """


@command("ls", example="func dlq ls\nfunc dlq ls orders.pack.dead -o json")
@click.argument("topics", nargs=-1, metavar="[TOPIC]...")
@bootstrap_option
@profile_option("dev")
@output_option
def ls(topics: tuple[str, ...], bootstrap: str | None, profile: str | None, output: str) -> None:
    """Count the letters of the project's dead-letter topics, or of the named ones.

    With -o json one object a line: topic, functions, exists, total, pending, replayed, oldest, newest, kinds.
    """
    from upon_build.cli.dlq_show import Count
    from upon_build.cli.dlq_topics import bounds_of, to_list
    from upon_triggers.kafka.dead_letters import KafkaArchive, NoTopic, letters, replayed_of

    with own_stdout(output) as stdout:
        listed = to_list(topics, profile)
        if not listed:
            click.echo("no function of this project has a dead-letter topic", err=True)
            return
        with KafkaArchive(connection_for(bootstrap, profile)) as archive:
            width = max(map(len, listed))
            for name, functions in sorted(listed.items()):
                count, topic, exists = Count(), name, True
                try:
                    topic, bounds = (name, archive.bounds(name)) if functions else bounds_of(archive, name, profile)
                    replayed = replayed_of(archive, topic, bounds)
                    for letter in letters(archive, topic, bounds):
                        count.add(letter, letter.offset in replayed[letter.partition])
                except NoTopic:
                    exists = False
                if output == "json":
                    found = {"topic": topic, "functions": functions, "exists": exists, **count.as_dict()}
                    click.echo(json.dumps(found, ensure_ascii=False), file=stdout)
                else:
                    click.echo(f"{topic:<{width}}  {count.as_line() if exists else 'is not there yet'}", file=stdout)


@command("show", example="func dlq show orders.pack.dead --kind error --since 2h -n 10\nfunc dlq show pack -o json")
@click.argument("topic")
@filter_options
@click.option("--pending", is_flag=True, help="Only letters that were not replayed.")
@limit_option
@bootstrap_option
@profile_option("dev")
@output_option
def show(
    topic: str, pending: bool, limit: int | None, bootstrap: str | None, profile: str | None, output: str, **given: Any
) -> None:
    """Show the letters of TOPIC, oldest first in each partition.

    With -o json one object a line: topic, partition, offset, id, key, kind, error, attempts, function, group, origin,
    time, replays, replayed, omitted, and the event in CloudEvents JSON as the function saw it.
    """
    from upon_build.cli.dlq_show import as_dict, as_lines
    from upon_build.cli.dlq_topics import bounds_of
    from upon_triggers.kafka.dead_letters import KafkaArchive, letters, replayed_of

    wanted = filter_from(datetime.now(UTC), given)
    with own_stdout(output) as stdout, KafkaArchive(connection_for(bootstrap, profile)) as archive:
        topic, bounds = bounds_of(archive, topic, profile)
        replayed = replayed_of(archive, topic, bounds)
        shown = 0
        for letter in letters(archive, topic, wanted.spans(bounds)):
            done = letter.offset in replayed[letter.partition]
            if not wanted.matches(letter) or (pending and done):
                continue
            if output == "json":
                click.echo(json.dumps(as_dict(topic, letter, done), ensure_ascii=False), file=stdout)
            else:
                click.echo("\n".join(as_lines(letter, done)), file=stdout)
            shown += 1
            if shown == limit:
                break
        if not shown and output == "text":
            empty = all(first == end for first, end in bounds.values())
            click.echo(f"{topic} is empty" if empty else f"no letter of {topic} matches", file=stdout)


@command(
    "replay",
    example="func dlq replay orders.pack.dead --dry-run\nfunc dlq replay orders.pack.dead --kind error --yes",
)
@click.argument("topic")
@filter_options
@limit_option
@click.option("--to", metavar="TOPIC", help="Write to this topic in place of the original one, for all its groups.")
@click.option("--all-groups", is_flag=True, help="For every group that reads the topic, not only the one that failed.")
@click.option("--again", is_flag=True, help="Also what was replayed already.")
@click.option(
    "--rate", "speed", metavar="N/s", default="100/s", show_default=True, help="At most so many; 0: no limit."
)
@click.option("--dry-run", is_flag=True, help="Say what would happen, and write nothing.")
@yes_option
@bootstrap_option
@profile_option("dev")
@output_option
def replay(
    topic: str,
    limit: int | None,
    to: str | None,
    all_groups: bool,
    again: bool,
    speed: str,
    dry_run: bool,
    yes: bool,
    bootstrap: str | None,
    profile: str | None,
    output: str,
    **given: Any,
) -> None:
    """Write the pending letters of TOPIC back to where they came from.

    Key, value, headers and event id stay the same. Only the consumer group that gave a letter up handles it; other
    groups of Upon pass it over. What was replayed is noted every 100 letters or second, so that a second call does not
    replay it again; a letter that fails again is a new one. ctrl-C ends after what is in hand.
    """
    from upon_build.cli.dlq_replay import run_replay
    from upon_triggers.kafka.replay import Wish

    wish = Wish(filter_from(datetime.now(UTC), given), limit, to, all_groups, again, rate(speed))
    with own_stdout(output) as stdout:
        run_replay(connection_for(bootstrap, profile), topic, wish, profile, stdout, output, dry_run=dry_run, yes=yes)


dlq.add_command(ls)
dlq.add_command(show)
dlq.add_command(replay)
dlq.add_command(purge)
