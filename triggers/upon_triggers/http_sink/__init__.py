"""A sink that is a service's URL: what sources submit is posted there, and the answers are the outcomes."""

from __future__ import annotations

from upon_triggers.http_sink.sink import HttpSink

__all__ = ["HttpSink"]
