"""A service opens in order, tells the truth about itself, and closes in reverse."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import upon
from support.services import spec_of
from upon import Event
from upon_runtime.process import drain
from upon_runtime.service import Service


def handle(event: Event) -> None: ...


class Recorded:
    """A source and a server that write down what is asked of them."""

    def __init__(self, name: str, acts: list[str], fails: bool = False) -> None:
        self.name, self.acts, self.fails = name, acts, fails

    def start(self) -> None:
        if self.fails:
            raise upon.UponError("topic 'x' can't be made")
        self.acts.append(f"start {self.name}")

    def pause(self) -> None:
        self.acts.append(f"pause {self.name}")

    def stop(self, timeout: float) -> bool:
        assert timeout > 0
        self.acts.append(f"stop {self.name}")
        return True

    def state(self) -> dict[str, Any]:
        return {"connected": False, "in_flight": 2}


def resources(acts: list[str]) -> tuple[upon.Resource[Any], ...]:
    @upon.resource
    def first() -> Iterator[int]:
        acts.append("open first")
        yield 1
        acts.append("close first")

    @upon.resource
    def second() -> Iterator[int]:
        acts.append("open second")
        yield first() + 1
        acts.append("close second")

    return first, second


def test_the_end_comes_in_an_order_in_which_nothing_is_lost() -> None:
    acts: list[str] = []
    made = resources(acts)
    service = Service(spec_of(handle, resources=made), make_sources=lambda _: [Recorded("source", acts)])
    service.open()
    service.start_sources()
    assert 2 == made[1]()
    assert 0 == drain(service, Recorded("server", acts), delay=0, timeout=5)
    assert [
        "open first",
        "open second",
        "start source",
        "pause source",
        "stop server",
        "pause source",
        "stop source",
        "close second",
        "close first",
    ] == acts


def test_health_says_what_there_is() -> None:
    service = Service(spec_of(handle), make_sources=lambda _: [Recorded("kafka a -> handle", [])])
    assert "starting" == service.health()["status"]
    service.open()
    assert {
        "status": "ready",
        "service": "svc",
        "functions": ["handle"],
        "models": {},
        "sources": {"kafka a -> handle": {"connected": False, "in_flight": 2}},
    } == service.health()
    service.begin_drain()
    assert "draining" == service.health()["status"]
    assert service.alive()
    assert service.close(5)


def test_what_was_opened_is_closed_when_the_rest_does_not_open() -> None:
    acts: list[str] = []

    @upon.resource
    def broken() -> int:
        raise OSError("no such host")

    service = Service(spec_of(handle, resources=(*resources(acts), broken)))
    with pytest.raises(upon.UponError, match="resource broken did not open: OSError: no such host"):
        service.open()
    assert ["open first", "open second", "close second", "close first"] == acts
    assert not service.ready


def test_a_source_that_can_not_start_stops_the_others() -> None:
    acts: list[str] = []
    sources = [Recorded("a", acts), Recorded("b", acts, fails=True)]
    service = Service(spec_of(handle), make_sources=lambda _: sources)
    service.open()
    with pytest.raises(upon.UponError, match="can't be made"):
        service.start_sources()
    assert ["start a", "stop a"] == acts


def test_an_observer_that_raises_loses_no_outcome(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def finished(self, *args: Any) -> None:
            raise BrokenPipeError

        def late(self, *args: Any) -> None:
            raise BrokenPipeError

    service = Service(spec_of(handle), observers=[Broken()])
    service.open()
    assert "done" == service.dispatcher.deliver(Event.of()).kind
    assert "BrokenPipeError" in caplog.text
    assert service.close(5)


def test_a_source_that_does_not_stop_keeps_nothing_open(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Recorded):
        def pause(self) -> None:
            raise OSError("no pause")

        def stop(self, timeout: float) -> bool:
            raise OSError("no stop")

    acts: list[str] = []
    sources = [Broken("a", acts), Recorded("b", acts)]
    service = Service(spec_of(handle, resources=resources(acts)), make_sources=lambda _: sources)
    service.open()
    service.start_sources()
    assert 1 == drain(service, Recorded("server", acts), delay=0, timeout=5)
    assert ["stop server", "pause b", "stop b", "close second", "close first"] == acts[-5:]
    assert "no pause" in caplog.text
    assert "no stop" in caplog.text


def test_a_service_opens_once() -> None:
    service = Service(spec_of(handle))
    service.open()
    with pytest.raises(upon.UsageError, match="was opened or closed already"):
        service.open()
    assert service.ready
    assert service.close(5)
    with pytest.raises(upon.UsageError, match="was opened or closed already"):
        service.open()
    assert not service.ready


def test_topics_are_bound_while_it_runs() -> None:
    class Publisher:
        def publish(self, topic: str, event: Event[Any], key: bytes | None, on_done: Any) -> None:
            on_done(None)

    topic = upon.Topic("out")
    service = Service(spec_of(handle, topics=(topic,)), publisher=Publisher())
    service.open()
    topic.send(1)
    service.close(5)
    with pytest.raises(upon.UponError, match="topic 'out' has no broker here"):
        topic.send(1)


def test_a_missing_model_file_names_its_whole_path(tmp_path: Path) -> None:
    service = Service(spec_of(handle, models=(upon.Model("m", "models/none.onnx"),), folder=tmp_path))
    with pytest.raises(upon.ModelError, match=str(tmp_path / "models/none.onnx")):
        service.open()


def test_sources_stop_side_by_side() -> None:
    both = threading.Barrier(2)

    class Slow(Recorded):
        def stop(self, timeout: float) -> bool:
            both.wait(5)  # passes only when the other stops at the same time
            return super().stop(timeout)

    acts: list[str] = []
    service = Service(spec_of(handle), make_sources=lambda _: [Slow("a", acts), Slow("b", acts)])
    service.open()
    assert service.close(5)
    assert {"pause a", "pause b", "stop a", "stop b"} == set(acts)
