"""Names of images, read by the rules that Docker made and everybody follows."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from upon_build.registry.errors import InvalidReference

HUB = "docker.io"
HUB_ENDPOINT = "registry-1.docker.io"
HUB_NAMES = frozenset({HUB, "index.docker.io", HUB_ENDPOINT})
DEFAULT_TAG = "latest"
LONGEST_NAME = 255

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?")
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """`registry/repository[:tag][@digest]`, nothing left out; str() writes it that way."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    @property
    def name(self) -> str:
        """Registry and repository: `docker.io/library/python`."""
        return f"{self.registry}/{self.repository}"

    @property
    def wanted(self) -> str:
        """What to ask the registry for: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or DEFAULT_TAG

    @property
    def endpoint(self) -> str:
        """Host and port where the registry answers."""
        return HUB_ENDPOINT if self.registry == HUB else self.registry

    @property
    def is_local(self) -> bool:
        """Whether the registry is on this machine."""
        return is_loopback(self.registry)

    def at(self, digest: str) -> Reference:
        """The same repository by this digest, without a tag."""
        return replace(self, tag=None, digest=digest)


def parse_reference(text: str) -> Reference:
    """Read `python:3.11`, `ghcr.io/acme/app@sha256:…` or `127.0.0.1:5000/app`; InvalidReference names the fault."""
    if "://" in text:
        raise _invalid(text, "it has a scheme", f"leave out {text.split('://')[0] + '://'!r}")
    rest, digest = _digest_of(text)
    rest, tag = _tag_of(text, rest)
    registry, repository = _parts_of(rest)
    if _HOST.fullmatch(registry) is None:
        raise _invalid(text, f"{registry!r} is no host", "write host[:port]/repository[:tag]")
    if not all(_PART.fullmatch(part) for part in repository.split("/")) or len(repository) > LONGEST_NAME:
        raise _invalid(
            text,
            f"{repository[:80]!r} is no repository",
            "use lower-case letters, digits and single . _ - between them, parts with /",
        )
    return Reference(registry, repository, tag, digest)


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def is_loopback(host: str) -> bool:
    """Whether `host[:port]` is this machine by its name alone: 127.0.0.0/8, ::1 or localhost."""
    name = host[1 : host.index("]")] if host.startswith("[") and "]" in host else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _digest_of(text: str) -> tuple[str, str | None]:
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _invalid(text, f"{digest[:80]!r} is no digest", "write @sha256: and 64 hexadecimal digits")
    return rest, digest if at else None


def _tag_of(text: str, rest: str) -> tuple[str, str | None]:
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:  # the colon was a port's
        return rest, None
    if _TAG.fullmatch(tag) is None:
        raise _invalid(text, f"{tag[:140]!r} is no tag", "use up to 128 letters, digits and . _ -")
    return head, tag


def _parts_of(rest: str) -> tuple[str, str]:
    """A first part is a host if it looks like one; anything else is a repository of Docker Hub."""
    first, slash, more = rest.partition("/")
    if slash and (first == "localhost" or first != first.lower() or any(mark in first for mark in ".:")):
        registry, repository = first, more
    else:
        registry, repository = HUB, rest
    if registry in HUB_NAMES:
        return HUB, repository if "/" in repository else f"library/{repository}"
    return registry, repository


def _invalid(text: str, fact: str, remedy: str) -> InvalidReference:
    return InvalidReference(f"{text[:200]!r} names no image: {fact}: {remedy}")
