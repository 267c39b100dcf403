"""How the logs of `func run` and `func serve` are set up."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from upon_build.cli.exits import Exit, Fault
from upon_runtime import logs

PAUSE = 30.0  # seconds between two lines of the Kafka library


class Calm(logging.Filter):
    """Lets one line of the Kafka library through per pause, and none at the start.

    It tells of one broker that is gone in dozens of lines a second; a start without a broker ends with our own message.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last = clock()

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("kafka."):
            return True
        now = self._clock()
        if now - self._last < PAUSE:
            return False
        self._last = now
        return True


def configure(*, as_json: bool) -> None:
    """To stderr, at LOG_LEVEL (run.envs count), by default INFO.

    As text our own loggers begin at WARNING, unless LOG_LEVEL is set: the screen tells what they would. Raises Fault
    for an unknown level.
    """
    level = os.environ.get("LOG_LEVEL")
    try:
        logs.configure(as_json=as_json, level=level or "INFO")
    except ValueError:
        raise Fault(f"LOG_LEVEL={level!r} is not a level: use DEBUG, INFO, WARNING or ERROR", Exit.USAGE) from None
    if level is None:
        calm = Calm()
        for handler in logging.getLogger().handlers:
            handler.addFilter(calm)
    quiet = not as_json and level is None
    logging.getLogger("upon").setLevel(logging.WARNING if quiet else logging.NOTSET)
