"""`func dlq purge`: says exactly what goes and what stays, asks, and deletes."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from upon_build.cli.ask import confirm, yes_option
from upon_build.cli.command import bootstrap_option, command, output_option, own_stdout, profile_option
from upon_build.cli.dlq_filters import moment
from upon_build.cli.exits import Exit, Fault
from upon_build.cli.kafka import connection_for

if TYPE_CHECKING:
    from upon_triggers.kafka.dead_letters import Archive
    from upon_triggers.kafka.purge import Cut


@command(
    "purge",
    example="func dlq purge orders.pack.dead --replayed --dry-run\nfunc dlq purge orders.pack.dead --before 30d",
)
@click.argument("topic")
@click.option("--replayed", is_flag=True, help="What was replayed.")
@click.option("--before", metavar="TIME", help="What was given up before, pending or not: 30d, or RFC 3339.")
@click.option("--all", "everything", is_flag=True, help="Every letter, pending ones too.")
@click.option("--partition", type=click.IntRange(min=0), metavar="N", help="Only of this partition.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and delete nothing.")
@yes_option
@bootstrap_option
@profile_option("dev")
@output_option
def purge(
    topic: str,
    replayed: bool,
    before: str | None,
    everything: bool,
    partition: int | None,
    dry_run: bool,
    yes: bool,
    bootstrap: str | None,
    profile: str | None,
    output: str,
) -> None:
    """Delete letters of TOPIC.

    Kafka can only cut off the beginning of a partition: letters go up to the first one that has to stay.
    With -o json one object for each partition: goes, pending (of these), stays, behind (of these, might go), first.
    """
    from upon_build.cli.dlq_show import counted
    from upon_build.cli.dlq_topics import bounds_of
    from upon_triggers.kafka.dead_letters import KafkaArchive, replayed_of
    from upon_triggers.kafka.letter import DeadLetter
    from upon_triggers.kafka.purge import delete, plan

    if replayed + (before is not None) + everything != 1:
        raise Fault("say what to delete: one of --replayed, --before TIME, --all", Exit.USAGE)
    limit = moment("--before", before, datetime.now(UTC)) if before is not None else None
    connection = connection_for(bootstrap, profile)
    if connection.embedded:
        raise Fault("the development broker can't delete records; it forgets all of them when `func run` ends")
    with ExitStack() as stack:
        stdout = stack.enter_context(own_stdout(output))
        archive: Archive = stack.enter_context(KafkaArchive(connection))
        topic, bounds = bounds_of(archive, topic, profile)
        if partition is not None and partition not in bounds:
            raise Fault(f"{topic} has no partition {partition}: it has {len(bounds)}", Exit.USAGE)
        bounds = {n: span for n, span in bounds.items() if partition in (None, n)}
        done = replayed_of(archive, topic, bounds)

        def may_go(letter: DeadLetter) -> bool:
            if limit is not None:
                return letter.time is not None and letter.time < limit
            return everything or letter.offset in done[letter.partition]

        cuts = plan(archive, topic, bounds, done, may_go)
        _tell(topic, cuts, output, stdout, dry_run, "not replayed" if replayed else "not that old")
        goes = sum(cut.goes for cut in cuts)
        if foreign := sum(cut.foreign for cut in cuts):
            raise Fault(
                f"{foreign:,} of these records of {topic} are no dead letters: correct the topic's name, or delete them"
                " with kafka-delete-records.sh",
                Exit.USAGE,
            )
        if goes and not dry_run:
            confirm(f"Delete {counted(goes)} of {topic} for good?", yes)
            delete(connection, topic, cuts)
            if output == "text":
                click.echo(f"deleted {counted(goes)} of {topic}", file=stdout)


def _tell(topic: str, cuts: list[Cut], output: str, stdout: Any, dry_run: bool, why: str) -> None:
    for cut in cuts:
        first = cut.first.id if cut.first is not None else None
        if output == "json":
            found = {"topic": topic, "partition": cut.partition, "upTo": cut.upto, "goes": cut.goes}
            found |= {
                "pending": cut.pending,
                "stays": cut.stays,
                "behind": cut.behind,
                "first": first,
                "dryRun": dry_run,
            }
            click.echo(json.dumps(found), file=stdout)
            continue
        pending = f" ({cut.pending:,} of them never replayed)" if cut.pending else ""
        line = f"{topic}/{cut.partition}: {cut.goes:,} go{pending}, {cut.stays:,} stay"
        if first is not None:
            line += f", from {first} on, which was {why}"
        if cut.behind:
            line += f"; {cut.behind:,} of those behind it might go, but Kafka deletes only from the beginning"
        click.echo(line, file=stdout)
