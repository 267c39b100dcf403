"""The Simple API of package indexes (PEP 503 in HTML, PEP 691 in JSON), and folders with files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import orjson

from upon_build.lock.indexes import Indexes
from upon_build.lock.web import IndexFault, Web

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
MAX_PAGE = 2**26  # bytes


@dataclass(frozen=True, slots=True)
class Found:
    """A file that an index offers. where: its URL or path; sha256: hexadecimal, or "" where it says none."""

    file: str
    where: str = field(repr=False)
    sha256: str = ""
    size: int | None = None


def places(indexes: Indexes, package: str) -> list[str]:
    """Where files of a package may be, as folders and URLs of pages; folders and flat pages first."""
    return [*indexes.links, *(f"{index.url}/{package}/" for index in indexes.indexes)]


def files_at(web: Web, place: str, file: str | None = None) -> list[Found]:
    """The files that a place offers, yanked ones too: a lock may name them. file: the only name that is wanted.

    Raises IndexUnavailable, IndexFault.
    """
    if place.startswith("file:"):
        found = _folder(Path(unquote(urlsplit(place).path)))
    else:
        found = _page(web, place, file) if "://" in place else _folder(Path(place))
    return [one for one in found if file in (None, one.file)]


def _folder(folder: Path) -> list[Found]:
    if not folder.is_dir():
        return []
    return [Found(path.name, str(path), size=path.stat().st_size) for path in sorted(folder.glob("*.whl"))]


def _page(web: Web, url: str, file: str | None) -> list[Found]:
    answer = web.read(url, {"Accept": ACCEPT}, MAX_PAGE)
    if answer is None:
        return []
    try:
        if answer.kind.endswith("json"):
            return _from_json(answer.content, answer.url, file)
        return _from_html(answer.content, answer.url)
    except (ValueError, LookupError, TypeError, AttributeError):
        parts = urlsplit(url)
        message = f"what {parts.hostname} answers to {parts.path} is no page of a package index"
        raise IndexFault(f"{message}: check the index's address") from None


def _from_json(content: bytes, base: str, file: str | None) -> list[Found]:
    """A page may have thousands of files, and joining their URLs takes most of the time."""
    return [
        Found(one["filename"], urljoin(base, one["url"]), one.get("hashes", {}).get("sha256", ""), one.get("size"))
        for one in orjson.loads(content)["files"]
        if file in (None, one["filename"])
    ]


def _from_html(content: bytes, base: str) -> list[Found]:
    links = _Links(base)
    links.feed(content.decode())
    return links.found


class _Links(HTMLParser):
    def __init__(self, base: str) -> None:
        super().__init__()
        self.found: list[Found] = []
        self._base = base

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "base" and href:
            self._base = urljoin(self._base, href)
        if tag != "a" or not href:
            return
        url, _, fragment = urljoin(self._base, href).partition("#")
        sha256 = re.search(r"(?:^|&)sha256=([0-9a-fA-F]{64})", fragment)
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        self.found.append(Found(name, url, sha256[1].lower() if sha256 else ""))
