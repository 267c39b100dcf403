"""Fixtures of this room's tests."""

from __future__ import annotations

from support.dispatching import closing as closing
from support.dispatching import make as make
