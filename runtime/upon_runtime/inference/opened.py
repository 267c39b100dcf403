"""A model that is open: what upon.Model calls."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol

from upon import ModelError, UsageError
from upon_runtime.inference.inputs import Inputs
from upon_runtime.inference.request import Request
from upon_runtime.inference.runs import NotBatchable, Runs
from upon_runtime.inference.session import Session
from upon_runtime.inference.tensors import Array

log = logging.getLogger(__name__)


class Engine(Protocol):
    """Runs requests: a Batcher, or Direct. max_rows: of one run."""

    max_rows: int

    @property
    def depth(self) -> int: ...
    def submit(self, request: Request) -> None: ...
    async def asubmit(self, request: Request) -> None: ...
    def close(self, timeout: float) -> bool: ...


class OpenedModel:
    """The same four calls as upon.Model, and what a service shows of it.

    inputs, outputs: descriptions in the model's order. provider: ONNX Runtime's name of the device.
    serial_reason: why items don't share runs, or None when they do.
    """

    def __init__(
        self,
        name: str,
        session: Session,
        inputs: Inputs,
        runs: Runs,
        serial_reason: str | None,
        make_engine: Callable[[Callable[[list[Request]], None]], Engine],
    ) -> None:
        self.name = name
        self.inputs = session.inputs
        self.outputs = session.outputs
        self.provider = session.provider
        self.serial_reason = serial_reason
        self._checks = inputs
        self._runs = runs
        self._pid = os.getpid()
        self._engine = make_engine(self._infer)

    @property
    def queue_depth(self) -> int:
        """Rows that wait."""
        return self._engine.depth

    def call(self, inputs: dict[str, Any]) -> dict[str, Array]:
        self._guard("acall")
        request = self._checks.item(inputs)
        self._engine.submit(request)
        return self._runs.item(request)

    def batch(self, inputs: dict[str, Any]) -> dict[str, Array]:
        self._guard("abatch")
        parts = self._parts(self._checks.rows(inputs))
        for part in parts:
            self._engine.submit(part)
        return self._runs.rows(parts)

    async def acall(self, inputs: dict[str, Any]) -> dict[str, Array]:
        self._guard(None)
        request = self._checks.item(inputs)
        await self._engine.asubmit(request)
        return self._runs.item(request)

    async def abatch(self, inputs: dict[str, Any]) -> dict[str, Array]:
        self._guard(None)
        parts = self._parts(self._checks.rows(inputs))
        for part in parts:
            await self._engine.asubmit(part)
        return self._runs.rows(parts)

    def close(self, timeout: float = 10.0) -> None:
        """Finish what is queued and running, at most `timeout` seconds; later calls raise Draining."""
        if not self._engine.close(timeout):
            log.warning("model %r: closed after %s s with calls unfinished", self.name, timeout)

    def _guard(self, awaitable: str | None) -> None:
        if os.getpid() != self._pid:
            raise ModelError(
                f"model {self.name!r} was opened in process {self._pid} and is called in {os.getpid()}: "
                "a session does not survive a fork, open it afterwards"
            )
        if awaitable is not None and asyncio._get_running_loop() is not None and "ipykernel" not in sys.modules:
            raise UsageError(
                f"model {self.name!r} was called on an event loop's thread, which would block it: "
                f"use await model.{awaitable}(...)"
            )

    def _parts(self, whole: Request) -> list[Request]:
        """The runs that rows need: none for no rows, several for too many."""
        size = self._engine.max_rows
        if 0 < whole.rows <= size:
            return [whole]
        return [self._checks.part(whole, i, min(i + size, whole.rows)) for i in range(0, whole.rows, size)]

    def _infer(self, batch: list[Request]) -> None:
        try:
            self._runs.infer(batch)
        except NotBatchable as error:  # the load-time probe did not see it; the caller bisects this batch
            if self.serial_reason is None:
                self.serial_reason = str(error)
                self._engine.max_rows = 1
                log.warning("model %r runs one item at a time from now on: %s", self.name, error)
            raise
