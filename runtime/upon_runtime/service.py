"""A running service: models, resources, topics, dispatcher and sources, opened in order and closed in reverse."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, TypeAlias

from upon import Model, Resource, Topic, UponError, UsageError
from upon._engine import Publisher
from upon._sink import Sink
from upon_runtime.dispatcher import Dispatcher
from upon_runtime.idempotency import Journal, Store, make_store
from upon_runtime.logs import EventLog
from upon_runtime.metrics import Metrics
from upon_runtime.observe import Observer, Observers
from upon_runtime.spec import ServiceSpec
from upon_triggers.source import Source

log = logging.getLogger("upon.service")

MakeSources: TypeAlias = Callable[["Service"], Sequence[Source]]


class Service:
    """Everything of a service but the HTTP server, which is one more way in.

    open() makes it able to handle events, start_sources() lets events come, begin_drain() ends new work, close()
    finishes. publisher: where replies and topic sends go; make_sources: builds the sources once open.
    store: remembers the events of idempotent functions, in place of what the spec names.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        *,
        observers: Sequence[Observer] = (),
        publisher: Publisher | None = None,
        make_sources: MakeSources | None = None,
        logged: bool = True,
        store: Store | None = None,
    ) -> None:
        self.spec = spec
        self.metrics = Metrics()
        self.publisher = publisher
        self.models: dict[str, Any] = {}
        self.sources: tuple[Source, ...] = ()
        self.ready = False
        self.draining = False
        seen = (self.metrics, *((EventLog(),) if logged else ()), *observers)
        self.observer = Observers(*seen)
        self.journal: Journal | None = None
        if any(function.idempotent for function in spec.functions):
            self.journal = Journal(spec, store or make_store(spec), self.metrics.repeated)
            self.metrics.watch_store(self.journal.state)
        self.dispatcher = Dispatcher(spec, self.observer, publisher=publisher, journal=self.journal)
        self._make_sources = make_sources
        self._opened = ExitStack()
        self._closing = threading.Lock()
        self._closed = False
        self.metrics.watch(self.source_states)

    @property
    def sink(self) -> Sink:
        """Where sources submit events."""
        return self.dispatcher

    def open(self) -> None:
        """Open models and resources and connect the topics; ready afterwards. Raises what they raise."""
        if self.ready or self._closed:
            raise UsageError(f"the service {self.spec.name} was opened or closed already: make a new one")
        try:
            if self.journal is not None:
                self._opened.callback(self.journal.close)
                self.journal.open()
            for topic in self.spec.topics:
                self._connect(topic)
            for model in self.spec.models:
                self._open_model(model)
            for resource in self.spec.resources:
                self._open_resource(resource)
            if self._make_sources is not None:
                self.sources = tuple(self._make_sources(self))
        except BaseException:
            self._opened.close()
            raise
        self.ready = True

    def start_sources(self) -> None:
        """Let events come. Raises the first source's error after stopping those that did start."""
        started: list[Source] = []
        try:
            for source in self.sources:
                source.start()
                started.append(source)
        except BaseException:
            for source in reversed(started):
                source.stop(1.0)
            raise

    def begin_drain(self) -> None:
        """Readiness off. Work is still taken: whoever sends it has not noticed yet."""
        self.draining = True

    def pause_sources(self) -> None:
        for source in self.sources:
            try:
                source.pause()
            except Exception:  # the others still have to be paused
                log.exception("source %s did not pause", source.name)

    def close(self, timeout: float) -> bool:
        """Stop sources, finish handlers, close resources and models; False when handlers had to be left behind."""
        with self._closing:
            if self._closed:
                return True
            self._closed = True
        self.begin_drain()
        deadline = time.monotonic() + timeout
        self.pause_sources()
        stopped = self._stop_sources(max(deadline - time.monotonic(), 0.1))
        done = self.dispatcher.close(max(deadline - time.monotonic(), 0.1)) and stopped
        self.ready = False
        self._opened.close()
        return done

    def _stop_sources(self, timeout: float) -> bool:
        """All at once: one that needs its whole time must not take it from another's last commit."""
        if not self.sources:
            return True
        with ThreadPoolExecutor(len(self.sources), "upon-stop") as pool:
            return all(list(pool.map(lambda source: self._stop(source, timeout), self.sources)))

    def _stop(self, source: Source, timeout: float) -> bool:
        try:
            source.stop(timeout)
        except Exception:  # the rest still has to be closed
            log.exception("source %s did not stop", source.name)
            return False
        return True

    def alive(self) -> bool:
        """False once handlers past their deadline hold every place: only a restart helps."""
        return not self.dispatcher.stuck

    def source_states(self) -> dict[str, dict[str, Any]]:
        return {source.name: source.state() for source in self.sources}

    def health(self) -> dict[str, Any]:
        """The readiness body. A vanished broker shows here, not in the status: restarting would not help."""
        status = "draining" if self.draining else "ready" if self.ready else "starting"
        return {
            "status": status,
            "service": self.spec.name,
            "functions": sorted(self.dispatcher.functions),
            "models": {name: {"provider": opened.provider} for name, opened in self.models.copy().items()},
            "sources": self.source_states(),
            **({} if self.journal is None else {"idempotency": self.journal.state()}),
        }

    def _connect(self, topic: Topic) -> None:
        before = topic._publisher
        topic._bind(self.publisher)
        self._opened.callback(topic._bind, before)

    def _open_model(self, model: Model) -> None:
        from upon_runtime.inference import open_served

        began = time.monotonic()
        before = model._opened
        opened = open_served(model, folder=self.spec.folder, observe=self.metrics.inference)
        model._bind(opened)
        self.models[model.name] = opened
        self._opened.callback(model._bind, before)
        self._opened.callback(opened.close)
        log.info("model %s is open on %s (%.0f ms)", model.name, opened.provider, (time.monotonic() - began) * 1000)

    def _open_resource(self, resource: Resource[Any]) -> None:
        if resource._opened is not None:  # opened at first use before the runtime came; it stays as it is
            return
        try:
            resource._open()
        except UponError:
            raise
        except Exception as error:
            raise UponError(f"resource {resource.name} did not open: {type(error).__name__}: {error}") from error
        self._opened.callback(self._close_resource, resource)

    def _close_resource(self, resource: Resource[Any]) -> None:
        try:
            resource._close()
        except Exception:  # the others still have to be closed
            log.exception("resource %s did not close", resource.name)
