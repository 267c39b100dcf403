"""One run: a broker, members, a writer and a monkey; then the verdict."""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from chaos.groups import Observer
from chaos.journal import Journal
from chaos.members import Member, left_over
from chaos.monkey import BrokerControl, Monkey
from chaos.plan import FUNCTIONS, REPLIES, Plan
from chaos.project import create_topics, write_project
from chaos.verdict import Kept, bound_of, judge, judge_replies
from chaos.writer import Writer
from support.kafka import RealKafka
from support.kafka import _free_port as free_port
from upon_triggers.kafka.ownership import COMMIT_EVERY, COMMIT_RECORDS

Say = Callable[[str], None]

SETTLE = 60.0  # seconds until a group stands, or its last commit is there
TELL = 5.0


@dataclass
class Result:
    plan: Plan
    seconds: float = 0.0
    did: dict[str, int] = field(default_factory=dict)
    members: dict[str, int] = field(default_factory=dict)
    functions: list[Kept] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.problems and not any(kept.problems for kept in self.functions)

    @property
    def disturbances(self) -> int:
        """What may repeat records: all but members that come and go in good order."""
        return sum(count for act, count in self.did.items() if act.split()[0] in ("kill", "freeze"))

    def as_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            **asdict(self),
            "duplicates": sum(kept.duplicates for kept in self.functions),
            "disturbances": self.disturbances,
            "maxInFlight": self.plan.max_in_flight,
            "commitEverySeconds": COMMIT_EVERY,
            "commitRecords": COMMIT_RECORDS,
        }


class Run:
    """The moving parts of a run; `members` grows when some join."""

    def __init__(self, plan: Plan, folder: Path, kafka: RealKafka, say: Say) -> None:
        self.plan = plan
        self.say = say
        self.kafka = kafka
        self.marker = f"chaos-{uuid.uuid4().hex}"
        self.project = folder / "project"
        journals = folder / "journals"
        journals.mkdir(parents=True)
        write_project(self.project, plan, kafka.bootstrap)
        self.journals = [Journal(function, journals, plan.counts[function.name]) for function in FUNCTIONS]
        self.env = {
            "CHAOS_SEED": str(plan.seed),
            "CHAOS_JOURNALS": str(journals),
            "CHAOS_RUN": self.marker,
            "PORT": "0",
            "HOST": "127.0.0.1",
        }
        self.observer = Observer(kafka.bootstrap)
        self.members: list[Member] = []
        self._rng = random.Random(plan.seed + 1)
        self._function_port = str(free_port())  # the same after a restart: the triggers know it

    @property
    def settled(self) -> int:
        return sum(journal.settled for journal in self.journals)

    def start_members(self) -> None:
        if self.plan.mode == "host":
            self._fill("function", ["serve"], PORT=self._function_port)
        for _ in range(self.plan.members):
            self.add_member()

    def add_member(self) -> Member:
        """One more that reads from Kafka."""
        if self.plan.mode == "direct":
            return self._fill("member", ["serve"])
        sink = f"http://127.0.0.1:{self._function_port}"
        return self._fill("triggers", ["triggers", "run", "--sink", sink, "--port", "0", "-o", "json"])

    def _fill(self, kind: str, arguments: list[str], **env: str) -> Member:
        name = f"{kind}-{len(self.members)}"
        member = Member(name, arguments, self.project, {**self.env, **env}, self._rng)
        self.members.append(member)
        member.start()
        return member

    def tick(self) -> None:
        now = time.monotonic()
        for member in self.members:
            member.tick(now)
        for journal in self.journals:
            journal.read()

    def until(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:.0f} s: {what}")
            self.tick()
            time.sleep(0.05)

    def is_shared_out(self) -> bool:
        """Every group stands, with all members and all partitions."""
        for function in FUNCTIONS:
            shares = self.observer.shares(function.group)
            if shares is None or len(shares) != self.plan.members or 0 in shares.values():
                return False
            if sum(shares.values()) != self.plan.partitions:
                return False
        return True

    def lag(self) -> int:
        try:
            return sum(self.observer.lag(function.group, function.topic) for function in FUNCTIONS)
        except KafkaException:  # the broker is just coming back
            return self.plan.events

    def end(self) -> None:
        for member in self.members:
            member.end()
        for journal in self.journals:
            journal.close()


@contextmanager
def broker_with_topics(folder: Path, plan: Plan) -> Iterator[RealKafka]:
    folder.mkdir(parents=True)
    kafka = RealKafka(folder)
    kafka.start()
    try:
        create_topics(kafka, plan)
        yield kafka
    finally:
        kafka.kill()


def run(plan: Plan, folder: Path, say: Say) -> Result:
    """Everything, in at most about `plan.deadline` seconds. Raises KafkaUnavailable."""
    result = Result(plan)
    began = time.monotonic()
    with broker_with_topics(folder / "kafka", plan) as kafka:
        this = Run(plan, folder, kafka, say)
        try:
            _perform(this, result)
        except TimeoutError as error:
            result.problems.append(str(error))
            result.problems += [f"{m.name}, {m.state}, said last: {m.last_words}" for m in this.members]
        finally:
            this.end()
        told = Counter[str]()
        for member in this.members:
            told += member.told
            result.problems += member.troubles
        result.members = dict(told)
        if code := [key for key in told if key.startswith("left with") and key != "left with 0"]:
            result.problems.append(f"members that were asked to leave ended otherwise than with 0: {code}")
    if found := left_over(this.marker):
        result.problems.append(f"processes were left behind: {found}")
    result.seconds = round(time.monotonic() - began, 1)
    return result


def _perform(this: Run, result: Result) -> None:
    plan = this.plan
    this.start_members()
    this.until(this.is_shared_out, SETTLE, "all members share the partitions")
    broker = BrokerControl(this.kafka, this.say)
    monkey = Monkey(plan.steps(), this.members, broker, this.add_member, this.say)
    writer = Writer(this.kafka.bootstrap, plan, lambda: this.settled)
    writer.start()
    try:
        _wait_for_the_end(this, monkey, writer)
    except TimeoutError as error:
        result.problems.append(str(error))
        result.problems += [f"{member.name}: {member.state_of_sources()}" for member in this.members]
    finally:
        result.did = dict(monkey.did)
        monkey.undo_everything()
        writer.stop()
    result.problems += [error for error in (writer.error, broker.error) if error]
    _look_at_the_rest(this, result)


def _wait_for_the_end(this: Run, monkey: Monkey, writer: Writer) -> None:
    plan, began = this.plan, time.monotonic()
    told = began

    def is_over() -> bool:
        nonlocal told
        settled = this.settled
        monkey.tick(settled / plan.events)
        if settled == plan.events:
            return monkey.is_done
        if time.monotonic() - told < TELL:
            return False
        told = time.monotonic()
        this.say(f"{told - began:.0f} s: {writer.written} written, {settled} of {plan.events} done with")
        # An event may be given up without a last word of its handler: then the groups tell that all is done.
        return monkey.is_done and not writer.is_alive() and this.lag() == 0

    this.until(is_over, plan.deadline, f"{plan.events} events are done with")


def _look_at_the_rest(this: Run, result: Result) -> None:
    """Wait for the last commits, let the members leave, and judge."""
    try:
        this.until(lambda: all(m.state in ("up", "gone") for m in this.members), SETTLE, "all members are up")
        this.until(lambda: this.lag() == 0, SETTLE, "everything is committed")
        for member in this.members:
            if member.state == "up":
                member.leave(None)
        this.until(lambda: all(m.state == "gone" for m in this.members), SETTLE, "all members have left")
    except TimeoutError as error:
        result.problems.append(f"{error}; lag {this.lag()}")
    for journal in this.journals:
        journal.read()
        bound = bound_of(this.plan, result.disturbances, COMMIT_RECORDS)
        kept = judge(this.plan, journal, this.observer.read(journal.function.dead_topic), bound)
        if journal.function.name == "unordered":
            kept.problems += judge_replies(journal, this.observer.read(REPLIES))
        result.functions.append(kept)
