"""Processes that die and come back, on a memory broker and a clock of their own: every step is the test's."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

from support.sinks import DirectSink
from upon import Event, Outcome, UponError
from upon._outcome import DONE
from upon._sink import OnBatch, OnDone, OnItem
from upon._triggers import Batched, KafkaTrigger
from upon_triggers.kafka.memory import MemoryBroker, MemoryConsumer, MemoryPublisher
from upon_triggers.kafka.notes import Notes, decode
from upon_triggers.kafka.source import KafkaSource
from upon_triggers.kafka.transport import Partition
from upon_triggers.kafka.turnstile import Turnstile
from upon_triggers.settings import Delivery

Place = tuple[int, int]  # partition and offset


class Killed(BaseException):
    """The process is gone: nothing may catch this."""


class SteppedSink(DirectSink):
    """Holds what it is given; `work` handles one event of one run, or one batch, at a time."""

    def __init__(self, handle: Callable[[Event[Any]], Outcome | None]) -> None:
        super().__init__(handle)
        self._jobs: list[Callable[[], bool]] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def work(self, rng: random.Random) -> None:
        job = rng.choice(self._jobs)
        if job():
            self._jobs.remove(job)

    def submit(self, event: Event[Any], on_done: OnDone, *, function: str | None = None) -> None:
        self.submit_run([event], lambda _, outcome: on_done(outcome))

    def submit_run(self, events: Sequence[Event[Any]], on_item: OnItem, *, function: str | None = None) -> None:
        left = list(enumerate(events))

        def next_one() -> bool:
            index, event = left.pop(0)
            outcome = self.deliver(event)
            on_item(index, outcome)
            return not left or outcome is not DONE

        self._jobs.append(next_one)

    def submit_batch(self, events: Sequence[Event[Any]], on_batch: OnBatch, *, function: str | None = None) -> None:
        def whole() -> bool:
            on_batch([self.deliver(event) for event in events])
            return True

        self._jobs.append(whole)


class World:
    """One topic and one process at a time. killers: the records that kill it, when they are handled."""

    def __init__(
        self,
        *,
        partitions: int = 1,
        killers: Collection[Place] = (),
        fails: Callable[[Event[Any]], Outcome | None] = lambda event: None,
        delivery: Delivery = Delivery(),  # noqa: B008 - frozen
        batched: Batched | None = None,
        seed: int = 1,
        **trigger: Any,
    ) -> None:
        self.now = 1000.0
        self.rng = random.Random(seed)
        self.broker = MemoryBroker(partitions)
        self.broker.ensure_topics(["in"])
        self.killers = set(killers)
        self.deaths = 0
        self.errors: deque[UponError] = deque()  # what the next writes fail with
        self.handled: Counter[Place] = Counter()  # by handlers that came to their end
        self.begun: Counter[Place] = Counter()
        self.repeated: list[Place] = []  # handled although a commit said that they were finished
        self.blamed: Counter[Place] = Counter()  # deaths that a record may have been the reason of, as far as was noted
        self.running: list[Place] = []  # in the order of beginning, of this process
        self._fails = fails
        self._delivery = delivery
        self._batched = batched
        self._trigger = trigger
        self._finished: dict[int, tuple[int, frozenset[int]]] = {}
        self.sink: SteppedSink
        self.source: KafkaSource
        self.begin()

    def fill(self, count: int, partition: int = 0, keys: int = 0) -> None:
        for n in range(count):
            key = b"k%d" % self.rng.randrange(keys) if keys else None
            self.broker.publish("in", b'{"n":%d}' % n, partition=partition, key=key)

    # A process

    def begin(self) -> None:
        self.running = []
        self._finished = {n: (at, notes.finished) for n, (at, notes) in self.noted().items()}
        self.sink = SteppedSink(self._handle)
        publisher = MemoryPublisher(self.broker)
        publisher.errors = self.errors
        self.source = KafkaSource(
            KafkaTrigger("in", **self._trigger),
            function="f",
            service="s",
            sink=self.sink,
            cluster=self.broker,
            publisher=publisher,
            delivery=self._delivery,
            batched=self._batched,
            turnstile=Turnstile(),
            clock=lambda: self.now,
            rng=self.rng,
        )
        self.source.open()

    def _handle(self, event: Event[Any]) -> Outcome | None:
        assert event.kafka is not None
        place = event.kafka.partition, event.kafka.offset
        self.begun[place] += 1
        self.running.append(place)
        at, finished = self._finished.get(place[0], (0, frozenset()))
        if place[1] < at or place[1] in finished:
            self.repeated.append(place)
        if place in self.killers:
            raise Killed
        outcome = self._fails(event)
        if outcome is None:
            self.handled[place] += 1
        return outcome

    def die(self) -> None:
        """And another process takes over."""
        self.deaths += 1
        for number, (at, notes) in self.noted().items():
            if notes.open:
                everything = range(at, len(self.broker._topics["in"][number]))
                suspects = notes.pinned or (() if notes.level else everything)
                self.blamed.update((number, offset) for offset in suspects if offset not in notes.finished)
        consumer = self.source._consumer
        assert isinstance(consumer, MemoryConsumer)
        consumer.vanish()
        self.source.engine.abandon()
        self.begin()

    def stop(self) -> None:
        """In good order, and another process takes over."""
        self.source.stop(0.0)
        self.begin()

    # What goes on

    def turn(self) -> bool:
        """One step of the source, or of the sink; False when neither had anything to do."""
        try:
            if len(self.sink) and self.rng.random() < 0.5:
                self.sink.work(self.rng)
                return True
            if self.source.step() or len(self.sink):
                return True
        except Killed:
            self.die()
            return True
        return False

    def go_on(self, turns: int = 1_000_000) -> None:
        """Until everything is finished and committed, or so many turns are over."""
        quiet = 0
        for _ in range(turns):
            if self.turn():
                quiet = 0
                continue
            self.now += max(self.source.engine.wait(), 0.01)
            quiet += 1
            if quiet > 5 and self.is_done():
                return
            assert quiet < 1000, f"nothing goes on: {self.source.state()}"

    def is_done(self) -> bool:
        ends = {n: len(log) for n, log in enumerate(self.broker._topics["in"]) if log}
        return self.broker.committed("s.f", "in") == ends and not self.source.state()["suspicious"]

    # What became of it

    def noted(self) -> dict[int, tuple[int, Notes]]:
        """Watermark and notes of each partition, as the group has them."""
        group = self.broker._groups.get("s.f")
        positions = {} if group is None else group.positions
        return {p.number: (at.offset, decode(at.offset, at.metadata)) for p, at in positions.items()}

    def note(self, partition: int = 0) -> Notes:
        return self.noted()[partition][1]

    def dead(self) -> list[tuple[str, Place]]:
        """Kind and place of each dead letter."""
        found = []
        for letter in self.broker.records("in.f.dead"):
            told = {name: (value or b"").decode() for name, value in letter.headers}
            _, partition, offset = told["upon-origin"].rsplit("/", 2)
            found.append((told["upon-error-kind"], (int(partition), int(offset))))
        return found

    def everything(self) -> set[Place]:
        return {(r.partition, r.offset) for r in self.broker.records("in")}

    def assignment(self, partition: int = 0) -> Any:
        return self.source.engine.ownership.assignments[Partition("in", partition)]
