"""`func dlq replay`: asks, shows how far it is, ends cleanly at ctrl-C, and says what became of the letters."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, TextIO

import click

from upon._triggers import check_topic
from upon_build.cli.ask import confirm
from upon_build.cli.dlq_show import counted, plain
from upon_build.cli.dlq_topics import bounds_of
from upon_build.cli.exits import Exit, Fault
from upon_build.project.problems import did_you_mean
from upon_triggers.kafka.client import KafkaCluster
from upon_triggers.kafka.dead_letters import KafkaArchive, replayed_of
from upon_triggers.kafka.replay import Planner, Replay, Result, Step, Wish, group_of, preview
from upon_triggers.kafka.replay_ledger import SESSION_SECONDS, GroupLedger
from upon_triggers.kafka.replay_writer import KafkaWriter
from upon_triggers.settings import KafkaConnection

if TYPE_CHECKING:
    from types import FrameType

LINE_EVERY = 5.0  # seconds between two lines of progress where there is no terminal
DRAW_EVERY = 0.2


def run_replay(
    connection: KafkaConnection,
    topic: str,
    wish: Wish,
    profile: str | None,
    stdout: TextIO,
    output: str,
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    """Raises Fault where letters stay that were to go, and for what stops the replay."""
    with ExitStack() as stack:
        archive = stack.enter_context(KafkaArchive(connection))
        topic, bounds = bounds_of(archive, topic, profile)
        _check_target(archive, topic, wish.to)
        steps = preview(archive, topic, bounds, replayed_of(archive, topic, bounds), wish)
        if dry_run:
            _dry(topic, steps, stdout, output)
            return
        first = next(steps, None)
        if first is None:
            if output == "text":
                click.echo(f"{topic} holds no pending letter that matches", file=stdout)
            return
        total = None
        if not yes and sys.stdin.isatty():
            total = sum(step.outgoing is not None for step in chain([first], steps))
        confirm(f"Replay {counted(total or 0)} of {topic}?", yes)
        cluster = KafkaCluster(connection, session_timeout=None if connection.embedded else SESSION_SECONDS)
        report = Report(topic, stdout, output, total)
        writer = stack.enter_context(KafkaWriter(connection))
        ledger = stack.enter_context(GroupLedger(cluster, archive, topic, bounds))
        stop = stack.enter_context(interrupts())
        replay = Replay(
            archive,
            topic,
            bounds,
            wish,
            Planner(archive, wish),
            writer,
            ledger,
            stop=stop.is_set,
            told=report.told,
            nap=stop.wait,
        )
        try:
            replay.run()
        finally:
            report.end(replay.result)
    _judge(topic, replay.result)


def _check_target(archive: KafkaArchive, topic: str, to: str | None) -> None:
    if to is None:
        return
    check_topic(to)
    if to == topic:
        raise Fault(f"--to {to!r} is the topic that is replayed: name another", Exit.USAGE)
    known = archive.topics()
    if to not in known:
        raise Fault(f"there is no topic {to!r}: {did_you_mean(to, known)}")


def _dry(topic: str, steps: Iterator[Step], stdout: TextIO, output: str) -> None:
    would = left = 0
    for step in steps:
        would, left = would + (step.outgoing is not None), left + (step.outgoing is None)
        click.echo(json.dumps(as_dict(step, dry_run=True)) if output == "json" else as_line(step), file=stdout)
    if output == "text":
        tail = f"; {left:,} would stay" if left else ""
        click.echo(f"{counted(would)} of {topic} would be replayed{tail}", file=stdout)


def _judge(topic: str, result: Result) -> None:
    if result.ended == "stopped":
        raise Fault(
            "interrupted; what was replayed is noted, and the same command goes on with the rest", Exit.INTERRUPTED
        )
    if result.ended == "full":
        raise Fault(
            f"stopped at {result.full_at}: too many letters lie between the first pending one of its partition and this"
            f" one to note that it was replayed; replay the first ones too, or delete them with `func dlq purge {topic}"
            " --before TIME`"
        )
    if result.left:
        raise Fault(f"{counted(result.left)} could not be replayed and stay{'s' * (result.left == 1)} pending")


def as_dict(step: Step, *, dry_run: bool = False) -> dict[str, Any]:
    """status: replayed or left, or what it would be."""
    out = step.outgoing
    return {
        "id": step.letter.id,
        "status": step.status,
        "dryRun": dry_run,
        "topic": out.topic if out is not None else None,
        "partition": out.partition if out is not None else None,
        "group": group_of(step) if out is not None else None,
        "reason": step.reason or None,
    }


def as_line(step: Step) -> str:
    letter, out = step.letter, step.outgoing
    if out is None:
        return f"{letter.id} stays: {plain(step.reason)}"
    place = out.topic if out.partition is None else f"{out.topic}/{out.partition}"
    return f"{letter.id} → {place} for {plain(group_of(step) or 'every group')}  {plain(letter.kind or 'unknown')}"


class Report:
    """What a replay says: a line that counts on a terminal, plain lines elsewhere, an object a letter for scripts."""

    def __init__(
        self, topic: str, stdout: TextIO, output: str, total: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._topic = topic
        self._stdout = stdout
        self._json = output == "json"
        self._total = total
        self._clock = clock
        self._draws = sys.stderr.isatty()
        self._every = DRAW_EVERY if self._draws else LINE_EVERY
        self._last = clock()
        self._replayed = 0
        self._without_group = 0
        self._drawn = False

    def told(self, step: Step) -> None:
        if step.outgoing is not None:
            self._replayed += 1
            self._without_group += group_of(step) is None
        if self._json:
            click.echo(json.dumps(as_dict(step)), file=self._stdout)
        elif step.outgoing is None:
            self._clear()
            click.echo(as_line(step), file=self._stdout)
        if self._clock() >= self._last + self._every:
            self._last = self._clock()
            self._progress()

    def _progress(self) -> None:
        text = f"replayed {self._replayed:,}" + (f" of {self._total:,}" if self._total is not None else "")
        if self._draws:
            self._drawn = True
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)
        else:
            click.echo(text, err=True)

    def _clear(self) -> None:
        if self._drawn:
            self._drawn = False
            click.echo("\r\x1b[K", err=True, nl=False)

    def end(self, result: Result) -> None:
        self._clear()
        if self._json:
            return
        left = f"; {result.left:,} stay" if result.left else ""
        click.echo(f"replayed {counted(result.replayed)} of {self._topic}{left}", file=self._stdout)
        if self._without_group:
            click.echo(f"every group that reads their topic gets {self._without_group:,} of them", file=self._stdout)


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Set by the first ctrl-C or SIGTERM; the second ends at once, as ever."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
