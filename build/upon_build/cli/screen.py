"""What `func run` says about itself: a few lines at start and end for people, the same as JSON for scripts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol, TextIO

from upon._triggers import KafkaTrigger
from upon_build.cli.activity import Summary
from upon_build.cli.console import Console, JsonReport, TextReport, json_writer
from upon_runtime.spec import ServiceSpec


class Screen(Protocol):
    """report: takes a summary of what happened to events."""

    def report(self, summary: Summary) -> None: ...
    def ready(self, url: str) -> None: ...
    def ticked(self, functions: Sequence[str]) -> None: ...
    def draining(self) -> None: ...
    def stopped(self, code: int) -> None: ...


class TextScreen:
    """For people, on stdout. profile: with its origin."""

    def __init__(self, stdout: TextIO, spec: ServiceSpec, profile: str) -> None:
        self._spec = spec
        self._profile = profile
        self._console = Console(stdout)
        self.report = TextReport(self._console, replies_of(spec))

    def ready(self, url: str) -> None:
        say = self._say
        say(f"{self._console.paint(self._spec.name, 'green')}, profile {self._profile}")
        say(f"  http   {url}")
        if self._spec.kafka is not None:
            say(f"  kafka  {address_of(self._spec)}")
            if self._spec.kafka.embedded:
                say(f"         {_limits()}")
        if self._spec.group_suffix:
            say(f"         consumer groups end in {self._spec.group_suffix}, so that they take nothing from others")
        for function in self._spec.functions:
            triggers = ", ".join(map(str, function.function.triggers)) or f"POST /functions/{function.name}"
            say(f"  {function.name}: {triggers}")
        for model in self._spec.models:
            say(f"  model {model.name}: {model.path}")
        say("Ready. ctrl-C finishes what is in flight and ends.")

    def ticked(self, functions: Sequence[str]) -> None:
        self._console.line(f"--tick: {_fired(functions)}")

    def draining(self) -> None:
        self._console.line("stopping: finishing what is in flight; ctrl-C again ends at once")

    def stopped(self, code: int) -> None:
        self._console.line("stopped" if code == 0 else "stopped before everything was finished")

    def _say(self, text: str) -> None:
        self._console.line(text, stamped=False)


class JsonScreen:
    """One object a line on stdout."""

    def __init__(self, stdout: TextIO, spec: ServiceSpec, profile: str) -> None:
        self._spec = spec
        self._profile = profile
        self._write = json_writer(stdout)
        self.report = JsonReport(self._write, replies_of(spec))

    def ready(self, url: str) -> None:
        self._write(
            {
                "event": "ready",
                "url": url,
                "kafka": address_of(self._spec),
                "embedded": self._spec.kafka is not None and self._spec.kafka.embedded,
                "service": self._spec.name,
                "profile": self._profile,
                "functions": [function.name for function in self._spec.functions],
                "groupSuffix": self._spec.group_suffix or None,
                "pid": os.getpid(),
            }
        )

    def ticked(self, functions: Sequence[str]) -> None:
        self._write({"event": "ticked", "functions": list(functions)})

    def draining(self) -> None:
        self._write({"event": "stopping"})

    def stopped(self, code: int) -> None:
        self._write({"event": "stopped", "exitCode": code})


def address_of(spec: ServiceSpec) -> str | None:
    """Kafka's bootstrap address as one string."""
    return ",".join(spec.kafka.bootstrap) if spec.kafka is not None else None


def replies_of(spec: ServiceSpec) -> Mapping[tuple[str, str], str]:
    """(function, topic) -> the topic of its replies."""
    return {
        (function.name, trigger.topic): trigger.reply_to
        for function in spec.functions
        for trigger in function.function.triggers
        if isinstance(trigger, KafkaTrigger) and trigger.reply_to is not None
    }


def _limits() -> str:
    from upon_triggers.kafka.embedded import LIMITS

    return LIMITS


def _fired(functions: Sequence[str]) -> str:
    return f"fired {', '.join(functions)} once" if functions else "there is no cron trigger to fire"
