"""Platforms as texts such as `linux/arm64` or `linux/arm/v7`, and as image indexes write them."""

from __future__ import annotations

import platform as _host
from collections.abc import Mapping
from typing import Any

_ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64"}
# A variant that goes without saying, first the one that runs everywhere.
_USUAL = {"amd64": ("", "v1"), "arm64": ("", "v8")}


def platform_of(value: Mapping[str, Any]) -> str:
    """`{"os": "linux", "architecture": "arm", "variant": "v7"}` -> `linux/arm/v7`, without what goes without saying."""
    architecture, variant = str(value.get("architecture", "")), str(value.get("variant") or "")
    shown = "" if variant in _USUAL.get(architecture, ("",)) else f"/{variant}"
    return f"{value.get('os', '')}/{architecture}{shown}"


def as_mapping(platform: str) -> dict[str, str]:
    """`linux/arm/v7` as an index's entry has it."""
    system, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    return {"os": system, "architecture": architecture, **({"variant": variant} if variant else {})}


def host_platform() -> str:
    """This machine's, as containers on it have it."""
    machine = _host.machine()
    return f"linux/{_ARCHITECTURES.get(machine, machine)}"
