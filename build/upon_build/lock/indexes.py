"""Where this machine takes packages from: what uv and pip are told, by variables and by their files.

An order for each: uv's variables, pip's, uv's file, pip's files, PyPI.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from upon_build.lock.requirement import hide_credentials

PYPI = "https://pypi.org/simple"
_TRUE = ("1", "true", "yes", "on")


@dataclass(frozen=True, slots=True)
class Index:
    """A Simple API. url: without credentials and without a slash at its end."""

    url: str
    name: str = ""
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def full_url(self) -> str:
        """With its credentials, for uv alone."""
        parts = urlsplit(self.url)
        if not self.username and not self.password:
            return self.url
        user = ":".join(quote(one, safe="") for one in (self.username, self.password) if one) + "@"
        return urlunsplit(parts._replace(netloc=user + parts.netloc))


@dataclass(frozen=True, slots=True)
class Indexes:
    """indexes: the default one last, as uv asks them. links: folders and pages with files. insecure: host names.

    certificates: a bundle of authorities in place of the system's.
    """

    indexes: tuple[Index, ...]
    links: tuple[str, ...] = ()
    insecure: frozenset[str] = frozenset()
    certificates: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ, files: Sequence[Path] | None = None) -> Indexes:
        """As the person's uv and pip are set up. files: pip's configuration files, the strongest last."""
        pip = _Pip(env, _pip_files(env) if files is None else files)
        uv = _uv_file(env)
        named = [entry for entry in uv.get("index", []) if isinstance(entry, Mapping) and entry.get("url")]
        default = _first(
            env.get("UV_DEFAULT_INDEX"),
            env.get("UV_INDEX_URL"),
            env.get("PIP_INDEX_URL"),
            *[_entry(entry) for entry in named if entry.get("default")],
            uv.get("index-url"),
            pip.last("index-url"),
            PYPI,
        )
        extra = [
            *env.get("UV_INDEX", "").split(),
            *env.get("UV_EXTRA_INDEX_URL", "").split(),
            *[_entry(entry) for entry in named if not entry.get("default") and not entry.get("explicit")],
            *_list(uv.get("extra-index-url")),
            *pip.words("extra-index-url"),
        ]
        links = [
            *re.split(r"[\s,]+", env.get("UV_FIND_LINKS", "")),
            *_list(uv.get("find-links")),
            *pip.words("find-links"),
        ]
        alone = pip.last("no-index").lower() in _TRUE or env.get("UV_NO_INDEX", "").lower() in _TRUE
        return cls(
            () if alone else tuple(dict.fromkeys(_index(text, env) for text in [*extra, default])),
            tuple(dict.fromkeys(_link(link) for link in links if link)),
            frozenset([*env.get("UV_INSECURE_HOST", "").split(), *pip.words("trusted-host")]),
            _first(env.get("SSL_CERT_FILE"), pip.last("cert"), env.get("REQUESTS_CA_BUNDLE"), "") or None,
        )

    @property
    def shown(self) -> str:
        """Their addresses for people, without credentials."""
        places = [*(index.url for index in self.indexes), *self.links]
        return ", ".join(map(hide_credentials, places)) or "no index at all"

    def for_uv(self) -> dict[str, str]:
        """The same as uv's variables: on its command line every process of this machine could read a password."""
        found = {}
        if self.indexes:  # else uv is told so by an option: it has no variable for that
            found["UV_DEFAULT_INDEX"] = self.indexes[-1].full_url
            found["UV_INDEX"] = " ".join(index.full_url for index in self.indexes[:-1])
        found["UV_FIND_LINKS"] = ",".join(link for link in self.links if _is_url(link) or Path(link).exists())
        found["UV_INSECURE_HOST"] = " ".join(sorted(self.insecure))
        found["SSL_CERT_FILE"] = self.certificates or ""
        return {name: value for name, value in found.items() if value}


def _index(text: str, env: Mapping[str, str]) -> Index:
    """`URL` or `name=URL`, whose user and password may stand in variables."""
    named = re.match(r"([A-Za-z0-9_.-]+)=(?=[a-z]+://)", text)
    name = named[1] if named else ""
    parts = urlsplit(text[named.end() :] if named else text)
    user, _, host = parts.netloc.rpartition("@")
    username, password = (unquote(one) for one in user.partition(":")[::2])
    if name:
        variable = f"UV_INDEX_{re.sub('[^A-Za-z0-9]', '_', name).upper()}"
        username = username or env.get(f"{variable}_USERNAME", "")
        password = password or env.get(f"{variable}_PASSWORD", "")
    url = urlunsplit(parts._replace(netloc=host, path=parts.path.rstrip("/")))
    return Index(url, name, username, password)


def _entry(entry: Mapping[str, Any]) -> str:
    return f"{entry['name']}={entry['url']}" if entry.get("name") else str(entry["url"])


def _link(text: str) -> str:
    if text.startswith("file:"):
        return urlsplit(text).path
    return text if _is_url(text) else str(Path(text).expanduser().absolute())


def _is_url(text: str) -> bool:
    return "://" in text


def _first(*found: str | None) -> str:
    return next((one for one in found if one), "")


def _list(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _uv_file(env: Mapping[str, str]) -> Mapping[str, Any]:
    """uv.toml of the person, else of the machine; one that can't be read is uv's to complain about."""
    home = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "/")) / ".config")
    chosen = env.get("UV_CONFIG_FILE")
    for file in [Path(chosen)] if chosen else [home / "uv" / "uv.toml", Path("/etc/uv/uv.toml")]:
        try:
            found = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return {**found, **found.get("pip", {})}
    return {}


def _pip_files(env: Mapping[str, str]) -> list[Path]:
    """In pip's own order: the machine's, the person's, the virtual environment's, PIP_CONFIG_FILE."""
    chosen = env.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    home = Path(env.get("HOME", "/"))
    user = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    machine = [Path(one) / "pip" for one in (env.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")]
    folders = [*reversed(machine), Path("/etc"), home / ".pip", user / "pip", Path(sys.prefix)]
    return [*(folder / "pip.conf" for folder in folders), *([Path(chosen)] if chosen else [])]


class _Pip:
    """pip's settings: a variable wins over the files, `[install]` over `[global]`."""

    def __init__(self, env: Mapping[str, str], files: Sequence[Path]) -> None:
        self._env = env
        self._values: dict[str, str] = {}
        sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
        for file in files:
            parser = configparser.RawConfigParser()
            try:
                parser.read(file, encoding="utf-8")
            except (configparser.Error, UnicodeDecodeError, OSError):
                continue  # pip's to complain about
            for section, values in sections.items():
                if parser.has_section(section):
                    values.update({key.replace("_", "-"): value for key, value in parser.items(section)})
        self._values = {**sections["global"], **sections["install"]}

    def last(self, key: str) -> str:
        return (self._env.get("PIP_" + key.upper().replace("-", "_")) or self._values.get(key, "")).strip()

    def words(self, key: str) -> list[str]:
        return self.last(key).split()
