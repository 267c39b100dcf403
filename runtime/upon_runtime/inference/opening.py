"""Opens models: file, session, layout, probe, and what runs the calls."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from upon import Model
from upon_runtime.inference.batcher import Batcher
from upon_runtime.inference.direct import Direct
from upon_runtime.inference.inputs import Inputs
from upon_runtime.inference.layout import Layout, lay_out
from upon_runtime.inference.opened import Engine, OpenedModel
from upon_runtime.inference.probe import Findings, probe
from upon_runtime.inference.runs import Runs
from upon_runtime.inference.session import open_session
from upon_runtime.inference.threads import usable_cpus

log = logging.getLogger(__name__)

Observe = Callable[[str, int, float], None]


def open_alone(model: Model) -> OpenedModel:
    """Open without a queue; relative paths count from the working directory."""
    return _open(model, Path.cwd(), "the working directory", None, Direct)


def open_served(model: Model, *, folder: Path, observe: Observe, queue_rows: int = 1024) -> OpenedModel:
    """Open with the batcher; relative paths count from func.yaml's folder. queue_rows: rows that may wait."""
    engine = partial(Batcher, queue_rows=queue_rows, max_wait=model.max_wait)
    return _open(model, folder, "func.yaml's folder", observe, engine)


def _open(
    model: Model, folder: Path, relative_to: str, observe: Observe | None, engine: Callable[..., Engine]
) -> OpenedModel:
    session = open_session(model, folder, relative_to=relative_to, threads=usable_cpus())
    layout = lay_out(model, session.inputs)
    findings = probe(layout, session.outputs, session.run)
    _tell(model.name, layout, findings)
    inputs = Inputs(layout, pads=findings.padding_reason is None)
    runs = Runs(layout, session.outputs, findings.output_axes, session.run, observe)
    reason = findings.serial_reason
    max_rows = model.max_batch_size if reason is None else 1
    return OpenedModel(
        model.name, session, inputs, runs, reason, lambda infer: engine(model.name, infer, max_rows=max_rows)
    )


def _tell(name: str, layout: Layout, findings: Findings) -> None:
    if findings.serial_reason is not None:
        level = logging.INFO if layout.serial_reason else logging.WARNING
        log.log(level, "model %r runs one item at a time: %s", name, findings.serial_reason)
    if findings.padding_reason is not None:
        log.warning("model %r does not pad: %s", name, findings.padding_reason)
