"""How the logs of `func run` and `func serve` are set up."""

from __future__ import annotations

import logging
import os

from upon_build.cli.exits import Exit, Fault
from upon_runtime import logs


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
    quiet = not as_json and level is None
    logging.getLogger("upon").setLevel(logging.WARNING if quiet else logging.NOTSET)
