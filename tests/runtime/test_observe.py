"""What observers hear of runs: everything, at most a little late, and never after the last acknowledgement."""

from __future__ import annotations

from typing import Any

from support.dispatching import Collected
from upon import Event, Reject
from upon._outcome import DONE, Done, Failed, Outcome
from upon_runtime.observe import REPORT_SECONDS, Observers, RunReport

EVENTS = [Event.of(n, id=str(n)) for n in range(4)]


class Each:
    """Knows only single calls."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, float]] = []

    def finished(self, function: str, events: Any, outcomes: Any, seconds: float) -> None:
        self.heard.append((events[0].id, outcomes[0].kind, seconds))

    def late(self, function: str, event: Any, timeout: float) -> None:
        raise AssertionError


class AtOnce(Each):
    def finished_each(self, function: str, events: Any, outcomes: Any, seconds: Any) -> None:
        self.heard += [(e.id, o.kind, s) for e, o, s in zip(events, outcomes, seconds, strict=True)]


class Broken(Each):
    def finished(self, *args: Any) -> None:
        raise RuntimeError("broken")


def test_a_run_reaches_observers_of_both_kinds_and_none_spoils_the_others() -> None:
    each, at_once = Each(), AtOnce()
    report = RunReport(Observers(Broken(), each, at_once), "f")
    outcomes: list[Outcome] = [DONE, Done(Event.of(1)), Failed("error", "x")]
    for event, outcome in zip(EVENTS, outcomes, strict=False):
        report.add(event, outcome, 1.0, 1.5 - float(event.id) / 2)
    report.send()
    report.send()
    assert [("0", "done", 0.5), ("1", "done", 0.0), ("2", "error", -0.5)] == each.heard == at_once.heard


def test_a_slow_run_is_reported_on_the_way() -> None:
    seen = AtOnce()
    report = RunReport(seen, "f")
    report.add(EVENTS[0], DONE, 10.0, 10.0)
    report.add(EVENTS[1], DONE, 10.0, 10.0 + REPORT_SECONDS / 2)
    assert [] == seen.heard
    report.add(EVENTS[2], DONE, 10.1, 10.1 + REPORT_SECONDS)
    assert ["0", "1", "2"] == [identity for identity, *_ in seen.heard]


def handle(event: Event[int]) -> None:
    if event.data == 2:
        raise Reject("no")


def test_a_dispatched_run_is_observed_before_its_last_acknowledgement(make: Any) -> None:
    seen, known = AtOnce(), []

    class Noting(Collected):
        def __call__(self, *args: Any) -> None:
            known.append(len(seen.heard))
            super().__call__(*args)

    dispatcher = make(handle, observer=seen)
    for events, last in ((EVENTS[:2], 2), (EVENTS, 5)):  # to its end, and to its failure
        collected = Noting()
        dispatcher.submit_run(events, collected)
        collected.wait(min(len(events), 3))
        assert last == known[-1]
    assert ["done", "done", "done", "done", "rejected"] == [kind for _, kind, _ in seen.heard]
