"""Runs every five minutes. `func run --tick` fires it once at start."""

import logging

import upon
from upon import Event

log = logging.getLogger(__name__)


@upon.cron("*/5 * * * *", timezone="UTC")
def refresh(event: Event) -> None:
    log.info("refreshing what was due at %s", event.time)
