"""What holds for every test: in CI, nothing may be skipped for want of something."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from support.kafka import kafka as kafka  # the fixture: one real broker for the whole session
from support.kafka_secured import secured as secured  # and one behind locks


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\nCI must have what its tests need: a skip is a failure where CI=true"
    return report
