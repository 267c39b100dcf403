"""What a public service keeps to the cluster: its metrics and its models, where nobody asked to show them.

A Knative service has one port for everybody. But whoever comes by its address comes through proxies (the gateway, the
activator, the pod's queue-proxy), and each leaves its trace in X-Forwarded-For, whatever the sender wrote or left out.
Prometheus asks the pods themselves, and leaves none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from upon_runtime.http.answer import Answer, problem

_TRACES = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED")


class Closed:
    """paths: closed, with what is below them, to requests that came through a proxy."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._exact = frozenset(paths)
        self._below = tuple(f"{path}/" for path in sorted(self._exact))

    def refuses(self, environ: Mapping[str, Any]) -> bool:
        path = environ.get("PATH_INFO") or "/"
        if path not in self._exact and not path.startswith(self._below):
            return False
        return any(trace in environ for trace in _TRACES)

    @staticmethod
    def answer() -> Answer:
        """As for a path that is not there."""
        return problem(404, "Not Found", "there is nothing here: events go to / or /functions/NAME")
