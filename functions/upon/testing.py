"""Runs a project inside a test or notebook: the real dispatcher, sources and batching, with Kafka in memory and a
clock that only the test moves. One of three files that may import upwards, late.
"""

from __future__ import annotations

import contextvars
import os
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from upon._errors import UponError, UsageError
from upon._event import Event
from upon._function import Function
from upon._outcome import Outcome
from upon._sink import Sink
from upon._test_topics import Kafka, Record
from upon._triggers import Batched, CronTrigger, KafkaTrigger
from upon._watched_sink import WatchedSink

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from upon_runtime.service import Service
    from upon_runtime.spec import FunctionSpec, ServiceSpec
    from upon_triggers.cron import CronSource
    from upon_triggers.kafka.memory import MemoryBroker
    from upon_triggers.kafka.source import KafkaSource

__all__ = ["Client", "Http", "Kafka", "Record"]

START = datetime(2025, 1, 1, tzinfo=UTC)
TIMEOUT = 10.0  # seconds of real time
T = TypeVar("T")


class Client:
    """A project that runs inside this process: `with Client("func.yaml") as client: ...`.

    project: a func.yaml, a project's folder, or a Function, after which further ones may follow. name: the
    service's, where functions are given. profile, env: as for `func run`, with env in place of os.environ. at:
    where the client's clock starts. partitions: of each topic.

    `http` answers as the server would, `kafka` holds the topics. Opening loads models and resources; closing undoes
    all of it, so that clients can follow each other and nest. Raises UsageError for a project with faults.
    """

    http: Http
    kafka: Kafka

    def __init__(
        self,
        project: str | Path | Function[..., Any] = "func.yaml",
        *functions: Function[..., Any],
        name: str = "functions",
        profile: str | None = None,
        env: Mapping[str, str] | None = None,
        at: datetime = START,
        partitions: int = 1,
    ) -> None:
        if at.tzinfo is None:
            raise UsageError(f"at={at!r} has no timezone: use datetime(..., tzinfo=UTC) or the like")
        self._project = project
        self._functions = functions
        self._name = name
        self._profile = profile
        self._env = env
        self._partitions = partitions
        self._clock = _Clock(at)
        self._sources: list[_Driven] = []
        self._opened = ExitStack()
        self._service: Service | None = None

    def __enter__(self) -> Client:
        return self.open()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def open(self) -> Client:
        """What `with` does at its begin; for a notebook, whose cells a block can't span."""
        if self._service is not None:
            raise UsageError("this client is open already: make another one")
        try:
            _off_loop(self._open)
        except BaseException:
            self._opened.close()
            self._service = None
            raise
        return self

    def close(self) -> None:
        """What `with` does at its end. Raises UponError for handlers that still run after 10 s."""
        self._service = None
        _off_loop(self._opened.close)

    def _open(self) -> None:
        from upon_runtime.http import create_app
        from upon_runtime.idempotency import MemoryStore
        from upon_runtime.service import Service
        from upon_triggers.kafka.memory import MemoryBroker

        spec = self._spec()
        broker = MemoryBroker(self._partitions, wall=lambda: self._clock.now.timestamp())
        handled = MemoryStore(lambda: self._clock.elapsed)
        service = Service(spec, publisher=broker.open_publisher(), store=handled)
        self._opened.callback(_close, service)
        service.open()
        self._watched = WatchedSink(service.dispatcher)
        for function in spec.functions:
            self._sources += self._make_sources(function, service, broker)
        service.sources = tuple(driven.source for driven in self._sources)
        for driven in self._sources:
            self._opened.callback(driven.source.stop, 0.0)  # without waiting: this clock stands still
        self._service = service
        self.http = Http(create_app(service).test_client())
        self.kafka = Kafka(broker, spec.name)
        self.settle()

    def _spec(self) -> ServiceSpec:
        from upon_build.project import load_project, spec_from_functions
        from upon_runtime.spec import Idempotency
        from upon_triggers.settings import KafkaConnection

        kafka = KafkaConnection(("in-memory",), embedded=True)
        if isinstance(self._project, Function):
            return spec_from_functions(self._project, *self._functions, name=self._name, kafka=kafka)
        if not isinstance(self._project, (str, os.PathLike)):
            raise UsageError(
                f"Client takes a func.yaml, a folder or decorated functions, not {self._project!r}: decorate it, for"
                " instance with @upon.http"
            )
        env = os.environ if self._env is None else self._env
        project = load_project(self._project, profile=self._profile, env=env)
        self._opened.callback(project.close)
        handled = Idempotency(ttl=project.settings["idempotency.ttl"])
        return project.service_spec(kafka=kafka, idempotency=handled)

    def _make_sources(self, function: FunctionSpec, service: Service, broker: MemoryBroker) -> list[_Driven]:
        made: list[_Driven] = []
        for trigger in function.function.triggers:
            if isinstance(trigger, KafkaTrigger):
                made.append(_kafka(trigger, function, service, self._watched, broker, self._clock))
            elif isinstance(trigger, CronTrigger):
                made.append(_cron(trigger, function, service, self._watched, self._clock))
        return made

    def _running(self) -> Service:
        if self._service is None:
            raise UsageError("this client is not open: write `with Client(...) as client:`")
        return self._service

    def send(self, event_or_data: object, *, function: str | None = None) -> Outcome:
        """Hand over one event, or data that becomes one, and return the outcome of its one try.

        function: the name of the one to run; without it, subscriptions decide, as for `POST /`.
        """
        dispatcher = self._running().dispatcher
        event = event_or_data if isinstance(event_or_data, Event) else Event.of(event_or_data)
        return _off_loop(lambda: dispatcher.deliver(event, function=function))

    @property
    def now(self) -> datetime:
        """The client's time, by which retries, schedules and timestamps of records go."""
        return self._clock.now

    def settle(self, timeout: float = TIMEOUT) -> None:
        """Return once nothing is in flight and nothing is due at the client's time.

        Raises TimeoutError, naming what is pending, after `timeout` seconds of real time.
        """
        self._running()
        deadline = time.monotonic() + timeout
        while True:
            seen = self._watched.ended
            busy = self._watched.running  # read before the steps: what has ended by now is in an inbox
            moved = [driven.step() for driven in self._sources]
            if not busy and not any(moved):
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"not settled after {timeout:g} s: {self._pending()}")
            if not any(moved):
                self._watched.wait(seen, left)

    def advance(self, seconds: float, timeout: float = TIMEOUT) -> None:
        """Move the client's clock, through every retry and tick that is due on the way, and settle.

        Raises TimeoutError where one step of the way does not settle within `timeout` seconds of real time.
        """
        if not seconds >= 0:
            raise UsageError(f"advance({seconds!r}): time goes forward only")
        target = self._clock.elapsed + seconds
        self.settle(timeout)
        while (due := self._next_due()) is not None and due <= target:
            self._clock.elapsed = max(due, self._clock.elapsed)
            self.settle(timeout)
        self._clock.elapsed = target
        self.settle(timeout)

    def tick(
        self, function: str, at: datetime | None = None, *, schedule: str | None = None, timeout: float = TIMEOUT
    ) -> Outcome:
        """Fire a function's cron trigger for a scheduled time, settle, and return the outcome of the first try.

        at: by default the client's time; without timezone it is in the schedule's. schedule: which one, where the
        function has several. Raises UponError where `overlap` skips the tick, UsageError without such a trigger.
        """
        event = self._cron_source(function, schedule).fire(at or self.now)
        self._watched.outcomes[event.id] = None
        try:
            self.settle(timeout)
        finally:
            outcome = self._watched.outcomes.pop(event.id)
        if outcome is None:
            raise UponError(f"the tick of {function} was skipped: the one before is unfinished (overlap='forbid')")
        return outcome

    def dead(self, topic: str) -> list[Record]:
        """The records of a topic that were given up, as its functions' dead-letter topics hold them."""
        from upon_triggers.kafka.dead_letter import ORIGIN
        from upon_triggers.kafka.source import KafkaSource

        self._running()
        found = [s.source for s in self._sources if isinstance(s.source, KafkaSource)]
        topics = {source.dead_topic for source in found if source.trigger.topic == topic}
        if not topics:
            read = ", ".join(sorted({source.trigger.topic for source in found})) or "no topic"
            raise UsageError(f"no function reads topic {topic!r}: the project reads {read}")
        letters = [record for dead in sorted(topics - {None}, key=str) for record in self.kafka.records(str(dead))]
        return [r for r in letters if (r.headers.get(ORIGIN) or b"").startswith(f"{topic}/".encode())]

    def _cron_source(self, function: str, schedule: str | None) -> CronSource:
        from upon_triggers.cron import CronSource

        self._running()
        found = [s.source for s in self._sources if isinstance(s.source, CronSource) and s.function == function]
        names = [source.trigger.schedule for source in found]
        if schedule is not None:
            found = [source for source in found if source.trigger.schedule == schedule]
        if len(found) != 1:
            have = f"its schedules are {', '.join(map(repr, names))}" if names else "it has no @upon.cron"
            raise UsageError(f"tick({function!r}, schedule={schedule!r}) fits {len(found)} cron triggers: {have}")
        return found[0]

    def _next_due(self) -> float | None:
        return min((due for driven in self._sources if (due := driven.due()) is not None), default=None)

    def _pending(self) -> str:
        states = {driven.source.name: driven.source.state() for driven in self._sources}
        waiting = [f"{name} has {s['in_flight']} in flight" for name, s in states.items() if s["in_flight"]]
        return "; ".join([*self._watched.described(), *waiting]) or "steps go on without end"


class Http:
    """Flask's test client; each method returns its response (`.status_code`, `.json`, `.headers`, `.data`)."""

    def __init__(self, client: FlaskClient) -> None:
        self._client = client

    def request(self, method: str, path: str, **options: Any) -> TestResponse:
        """options: json=, data=, headers=, query_string= and whatever else Flask's test client takes."""
        return _off_loop(lambda: self._client.open(path, method=method, **options))

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> TestResponse:
        return self.request("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> TestResponse:
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.request("DELETE", path, **options)


class _Clock:
    """elapsed: seconds since the client was made; only `advance` moves it."""

    def __init__(self, start: datetime) -> None:
        self.start = start.astimezone(UTC)
        self.elapsed = 0.0

    @property
    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.elapsed)


@dataclass(frozen=True, slots=True)
class _Driven:
    """A source without its thread. step: whether there was anything to do. due: when there will be, by the clock."""

    source: KafkaSource | CronSource
    function: str
    step: Callable[[], bool]
    due: Callable[[], float | None]


def _kafka(
    trigger: KafkaTrigger, function: FunctionSpec, service: Service, sink: Sink, broker: MemoryBroker, clock: _Clock
) -> _Driven:
    from upon_runtime.sources import kafka_source

    batched = None
    if service.dispatcher.functions[function.name].is_batch:
        # Nobody waits for more records here: all there will be are there.
        batched = replace(function.function.batched or Batched(), max_wait=0.0)
    source = kafka_source(
        service,
        function,
        trigger,
        cluster=broker,
        publisher=broker.open_publisher(),
        sink=sink,
        batched=batched,
        clock=lambda: clock.elapsed,
        rng=random.Random(0),
    )
    source.open()
    return _Driven(source, function.name, source.step, source.next_due)


def _cron(trigger: CronTrigger, function: FunctionSpec, service: Service, sink: Sink, clock: _Clock) -> _Driven:
    from upon_runtime.sources import cron_source
    from upon_triggers.firing import MemoryFirings

    source = cron_source(
        service,
        function,
        trigger,
        sink=sink,
        store=MemoryFirings(),
        clock=lambda: clock.now,
        monotonic=lambda: clock.elapsed,
        rng=random.Random(0),
    )
    source.open()

    def step() -> bool:
        due = source.is_due(clock.now)
        if due:
            source.step(clock.now)
        return due

    def due() -> float | None:
        moment = source.due()
        return None if moment is None else (moment - clock.start).total_seconds()

    return _Driven(source, function.name, step, due)


def _close(service: Service) -> None:
    if not service.close(TIMEOUT):
        raise UponError(f"handlers still run {TIMEOUT:g} s after the client was closed: they have no end of their own")


def _off_loop(call: Callable[[], T]) -> T:
    """Call it here, or on a thread where this one runs an event loop (a notebook): models refuse to block loops."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    with ThreadPoolExecutor(1, "upon-testing") as pool:
        return pool.submit(contextvars.copy_context().run, call).result()
