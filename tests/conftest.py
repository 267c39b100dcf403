"""What holds for every test: in CI, nothing may be skipped for want of something."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Generator
from typing import Any

import pytest

from support.builds import builder as builder  # `func build` with one cache for the session
from support.builds import small_project as small_project
from support.cluster.binaries import start_building
from support.containers import containers as containers  # skips where no image can be started
from support.kafka import kafka as kafka  # the fixture: one real broker for the whole session
from support.kafka_secured import secured as secured  # and one behind locks
from support.knative import cluster as cluster  # a real API server and Knative, with pods as processes
from support.readers import crane as crane  # programs of others that read images
from support.readers import skopeo as skopeo
from support.readers import umoci as umoci
from support.registry import registry as registry  # a real registry for images
from support.registry_locked import registry_bearer as registry_bearer  # one that wants a token
from support.registry_locked import registry_tls as registry_tls  # one with TLS and passwords
from support.rootfs import base as base  # a base image with Python
from support.rootfs import base_without_python as base_without_python

CLUSTER_TIMEOUT = 180.0  # seconds for a test alone: building the cluster's programs takes ten minutes, once


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the cluster comes last, and has its programs built beside all the others."""
    items.sort(key=needs_cluster)
    for item in filter(needs_cluster, items):
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(CLUSTER_TIMEOUT, func_only=True))


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.option.collectonly and any(map(needs_cluster, session.items)):
        session.config.add_cleanup(ended(start_building()))


def needs_cluster(item: pytest.Item) -> bool:
    return "cluster" in getattr(item, "fixturenames", ())


def ended(building: subprocess.Popen[bytes] | None) -> Callable[[], None]:
    """What ends a build that nobody waits for any more."""

    def end() -> None:
        if building is not None:
            building.communicate()  # closes its stdin: it ends with that, and takes its compilers with it

    return end


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
