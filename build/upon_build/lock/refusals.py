"""What uv says when it finds no solution, as one of our errors: whose fault it is, and what to do."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from upon import UponError
from upon_build.lock.indexes import Indexes
from upon_build.lock.lockfile import NAME
from upon_build.lock.requirement import hide_credentials
from upon_build.lock.requirements import Requirements
from upon_build.lock.simple import files_at, places
from upon_build.lock.web import IndexFault, IndexUnavailable, Web
from upon_build.project.problems import ProjectError, fail

MOST = 6  # files that a message lists

_PACKAGE = r"(?:all versions of )?([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?(?:[<>=!~][^ ]*)?"
_NO_WHEEL = re.compile(rf"{_PACKAGE} ha(?:s|ve) no (?:usable wheels|wheels with a matching)")
_NOT_FOUND = re.compile(rf"{_PACKAGE} was not found in the (?:package registry|provided package locations)")
_SHUT = re.compile(
    r"\((401|403|407) [A-Z][a-z]+\)|status code.*?\((401|403|407)\b|(401|403) (?:Unauthorized|Forbidden)"
)
_BROKEN = re.compile(
    "Request failed after|Failed to fetch|error sending request|dns error|Connection refused|timed out|"
    "network connectivity is disabled|invalid peer certificate"
)


def refusal(
    said: str, requirements: Requirements, platform: str, indexes: Indexes, web: Web | None = None
) -> UponError:
    """The error to raise for what uv wrote to stderr. web: to ask which files there are."""
    said = hide_credentials(said.strip())
    where = requirements.source or NAME
    if found := _SHUT.search(said):
        status = next(one for one in found.groups() if one)
        remedy = "put the credentials into the index's URL, or into ~/.netrc"
        return IndexUnavailable(f"{_host(said, indexes)} does not let us in: it answers {status}; {remedy}")
    if _BROKEN.search(said):
        remedy = "check the network, the proxy settings and the index (UV_DEFAULT_INDEX, PIP_INDEX_URL)"
        return IndexUnavailable(f"{_host(said, indexes)} can't be reached: {_last_cause(said)}; {remedy}")
    if found := _NO_WHEEL.search(said):
        return no_wheel(where, found[1], "", platform, requirements.python, available(found[1], indexes, web))
    if found := _NOT_FOUND.search(said):
        remedy = "correct its name, or set UV_INDEX to the index that has it"
        return fail(where, f"the package {found[1]!r} is not at {indexes.shown}", remedy)
    message = f"the requirements can't be met for {platform} and Python {requirements.python}"
    return fail(where, f"{message}\n{_cause(said)}", "change what contradicts itself")


def no_wheel(where: str, name: str, version: str, platform: str, python: str, files: list[str]) -> ProjectError:
    """For a package that can't get into the image. files: what there is of it instead."""
    shown = ", ".join(files[:MOST]) + (f" and {len(files) - MOST} more" if len(files) > MOST else "")
    there = f"; there is {shown}" if files else ""
    message = f"{name}{f' {version}' if version else ''} has no wheel for {platform} and Python {python}{there}"
    remedy = "choose another version, Python (--python) or package, or publish a wheel of it to an index of yours"
    return fail(where, message, remedy)


def available(name: str, indexes: Indexes, web: Web | None = None) -> list[str]:
    """The files of the newest version that has any, or nothing where nobody says."""
    from packaging.utils import canonicalize_name

    package = canonicalize_name(name)
    web = web or Web(indexes, tries=1)
    files: set[str] = set()
    for place in places(indexes, package):
        try:
            found = [one.file for one in files_at(web, place)]
        except (IndexUnavailable, IndexFault):
            continue
        files |= {file for file in found if file.endswith((".whl", ".tar.gz", ".zip")) and _is_of(file, package)}
    newest = max(map(_version, files), default=None)
    return sorted(file for file in files if _version(file) == newest)


def _is_of(file: str, package: str) -> bool:
    from packaging.utils import canonicalize_name

    return canonicalize_name(file).startswith(package + "-")


def _version(file: str) -> tuple[bool, object]:
    """Of a file; one without a version that can be read sorts first."""
    from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename
    from packaging.version import InvalidVersion, Version

    try:
        found = parse_wheel_filename(file) if file.endswith(".whl") else parse_sdist_filename(file)
        return True, found[1]
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return False, Version("0")


def _host(said: str, indexes: Indexes) -> str:
    found = re.search(r"https?://[^\s`'\")>]+", said)
    if found:
        return urlsplit(found[0]).netloc.rpartition("@")[2]
    return indexes.indexes[-1].host if indexes.indexes else "the index"


def _cause(said: str) -> str:
    """Without uv's own headline."""
    text = re.sub(r"\A(error: )?.*No solution found when resolving dependencies.*\n", "", said)
    return re.sub(r"^\s*(cause: |╰─▶ )?", "  ", text, flags=re.MULTILINE).rstrip()


def _last_cause(said: str) -> str:
    causes = re.findall(r"^\s*(?:cause:|Caused by:) (.+)$", said, re.MULTILINE)
    return str(causes[-1] if causes else said.splitlines()[0] if said else "uv says nothing")
