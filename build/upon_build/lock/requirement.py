"""One requirement line, in one spelling, so that `Foo >= 1` and `foo>=1` are the same input."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from upon_build.project.problems import fail

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_LOOKS_LIKE_PATH = re.compile(r"^(\.{1,2}([/\\]|$)|[/~]|file:|[A-Za-z]:\\)|\.(whl|zip|tar\.gz|tar\.bz2)$")
_LOOKS_LIKE_URL = re.compile(r"^(git|hg|svn|bzr)\+|^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_PUBLISH = "publish a wheel of it to an index and write its name, or put its code beside func.yaml"


def read_line(text: str, where: str) -> Requirement:
    """Parse a requirement. Raises ProjectError for one that names no index package: a path, a URL, a repository."""
    from packaging.requirements import InvalidRequirement, Requirement

    if _LOOKS_LIKE_URL.search(text) or _LOOKS_LIKE_PATH.search(text):
        raise _no_wheel(text, where)
    try:
        found = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise fail(where, f"{text!r} is no requirement: {reason}", "write it as in 'numpy>=1.26,<3'") from None
    if found.url is not None:
        raise _no_wheel(text, where)
    return found


def _no_wheel(text: str, where: str) -> Exception:
    shown = hide_credentials(text)
    return fail(where, f"{shown!r} is a path, URL or repository, and an image needs wheels from an index", _PUBLISH)


def hide_credentials(text: str) -> str:
    """The text without what stands before an `@` in its URLs."""
    return re.sub(r"(?<=://)[^/@\s'\"]*@", "***@", text)


def write_line(requirement: Requirement) -> str:
    """Its one spelling: `name[extras]specifiers; marker`."""
    from packaging.utils import canonicalize_name

    extras = f"[{','.join(sorted(map(canonicalize_name, requirement.extras)))}]" if requirement.extras else ""
    specifiers = ",".join(sorted(str(one) for one in requirement.specifier))
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return f"{canonicalize_name(requirement.name)}{extras}{specifiers}{marker}"


def name_of(line: str) -> str:
    """The package's name in a line that `write_line` wrote."""
    found = re.match(r"[a-z0-9-]+", line)
    return found[0] if found else line


def with_extras(
    extras: Iterable[str], optional: Mapping[str, Sequence[str]], project: str, where: str
) -> Iterator[Requirement]:
    """The requirements of a project's extras; those that name the project itself lead to its other extras."""
    from packaging.utils import canonicalize_name

    known = {canonicalize_name(name): lines for name, lines in optional.items()}
    waiting = [canonicalize_name(extra) for extra in extras]
    done: set[str] = set()
    while waiting:
        extra = waiting.pop()
        if extra in done:
            continue
        done.add(extra)
        if extra not in known:
            there = f"there is {', '.join(sorted(known))}" if known else "there are none"
            raise fail(where, f"{project} has no extra {extra!r}", there)
        for line in known[extra]:
            requirement = read_line(line, where)
            if canonicalize_name(requirement.name) == canonicalize_name(project):
                waiting += map(canonicalize_name, requirement.extras)
            else:
                yield requirement
