"""The thread behind the markers: those of late handlers stay, what could not be written is written later."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from upon_runtime.idempotency.reach import Reach
from upon_runtime.idempotency.store import StoreUnavailable

log = logging.getLogger("upon.idempotency")

MARGIN = 30.0  # seconds that a marker outlasts the handler's timeout, or the last look at a handler past it
EVERY = 2.0  # seconds between two looks
SWEEP_EVERY = 60.0  # seconds
SWEEP_LIMIT = 500  # entries at once: a store must not stall for its housekeeping
MOST_PENDING = 1000  # acts that wait for the store; what comes on top is left to the leases


@dataclass(eq=False, slots=True)
class Claim:
    """Markers that one handler call holds. late: time.monotonic() from which they have to be extended."""

    token: str
    keys: Sequence[str]
    late: float


@dataclass(frozen=True, slots=True)
class Pending:
    """An act that the store has not taken: replies to keep, or else markers to give back."""

    token: str
    release: Sequence[str] = ()
    replies: Mapping[str, bytes] = field(default_factory=dict)


class Keeper:
    """ttl: seconds that a reply is kept. `step` is what its thread does every EVERY seconds."""

    def __init__(self, reach: Reach, ttl: float) -> None:
        self._reach = reach
        self._ttl = ttl
        self._claims: dict[str, Claim] = {}
        self._pending: deque[Pending] = deque(maxlen=MOST_PENDING)
        self._swept = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="upon-idempotency", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """One last try for what is pending."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)
        self._write_pending()

    def hold(self, claim: Claim) -> None:
        self._claims[claim.token] = claim

    def drop(self, claim: Claim) -> None:
        self._claims.pop(claim.token, None)

    def later(self, act: Pending) -> None:
        """Write it once the store can be reached."""
        self._pending.append(act)

    def step(self, now: float) -> None:
        """now: time.monotonic()."""
        self._write_pending()
        for claim in list(self._claims.values()):
            if now >= claim.late:
                self._extend(claim)
        if now >= self._swept + SWEEP_EVERY:
            self._sweep(now)

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                self.step(time.monotonic())
            except Exception:  # the next look may fare better
                log.exception("idempotency: markers could not be looked after")

    def _write_pending(self) -> None:
        while self._pending:
            act = self._pending[0]
            try:
                self._reach.ask(partial(self._write, act))
            except StoreUnavailable:
                return
            self._pending.popleft()

    def _write(self, act: Pending) -> None:
        store = self._reach.store
        if act.replies:
            store.finish(act.replies, act.token, self._ttl)
        if act.release:
            store.release(act.release, act.token)

    def _extend(self, claim: Claim) -> None:
        try:
            kept = self._reach.ask(lambda: self._reach.store.extend(claim.keys, claim.token, MARGIN))
        except StoreUnavailable:
            return
        if len(kept) < len(claim.keys) and self._claims.pop(claim.token, None) is not None:
            log.error("idempotency: a handler past its timeout has lost its marker: its event may be handled twice")

    def _sweep(self, now: float) -> None:
        try:
            removed = self._reach.ask(lambda: self._reach.store.sweep(SWEEP_LIMIT))
        except StoreUnavailable:
            return
        if removed < SWEEP_LIMIT:
            self._swept = now
