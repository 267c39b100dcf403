"""What is said of the image's builder must fit together."""

from __future__ import annotations

from collections.abc import Iterator

from upon_build.project.problems import Problem
from upon_build.project.settings import Settings


def builder_problems(settings: Settings) -> Iterator[Problem]:
    """System packages and a Containerfile need the builder `dockerfile`, and one excludes the other."""
    packages, own = settings.get("build.systemPackages"), settings.get("build.containerfile")
    if settings["build.builder"] == "native":
        for name, value in (("systemPackages", packages), ("containerfile", own)):
            if value.value:
                message = f"build.{name} is {value.value!r}, and the builder native starts no container"
                yield Problem("error", value.where, message, "set build.builder to dockerfile")
    elif packages.value and own.value:
        message = f"build.systemPackages is {packages.value!r}, and {own.value!r} is used as it is"
        yield Problem("error", packages.where, message, "install them in that file, or remove build.containerfile")
