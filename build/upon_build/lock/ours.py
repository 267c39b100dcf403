"""Upon itself as a dependency: a package of the index, or the checkout that runs, with what that one needs."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from upon_build.lock.requirement import read_line, with_extras, write_line
from upon_build.project.problems import fail

if TYPE_CHECKING:
    from packaging.requirements import Requirement

NAME = "upon"


@dataclass(frozen=True, slots=True)
class Ours:
    """The Upon of this process. checkout: its folder, None for an installed release."""

    version: str
    checkout: Path | None
    dependencies: tuple[str, ...] = ()
    optional: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def lines(self, extras: Iterable[str]) -> list[str]:
        """The requirement lines that bring Upon with these extras. Raises ProjectError for an unknown extra.

        An index may have another package of that name, so a checkout never names itself.
        """
        wanted = sorted(set(extras))
        needed = with_extras(wanted, self.optional, NAME, f"{NAME}[{','.join(wanted)}]")
        if self.checkout is None:
            return [f"{NAME}[{','.join(wanted)}]=={self.version}" if wanted else f"{NAME}=={self.version}"]
        found = [read_line(line, "pyproject.toml") for line in self.dependencies]
        return sorted({write_line(one) for one in [*found, *needed]})

    def check(self, requirement: Requirement, where: str) -> None:
        """Raises ProjectError where a project asks for another version than the one that builds its image."""
        if self.checkout is None and not requirement.specifier.contains(self.version, prereleases=True):
            message = f"'{requirement}' does not allow the Upon {self.version} that builds the image"
            raise fail(where, message, f"run that version, or allow {self.version}")


def find_ours() -> Ours:
    """What importlib.metadata knows of the `upon` that runs; an editable install says where its folder is."""
    own = metadata.distribution(NAME)
    checkout = _editable_folder(own.read_text("direct_url.json"))
    if checkout is None:
        return Ours(own.version, None)
    project = _project_table(checkout)
    return Ours(
        own.version,
        checkout,
        tuple(project.get("dependencies", ())),
        {name: tuple(lines) for name, lines in project.get("optional-dependencies", {}).items()},
    )


def _editable_folder(direct_url: str | None) -> Path | None:
    said = json.loads(direct_url) if direct_url else {}
    if not said.get("dir_info", {}).get("editable"):
        return None
    folder = Path(unquote(urlsplit(said["url"]).path))
    return folder if (folder / "pyproject.toml").is_file() else None


def _project_table(folder: Path) -> dict[str, Any]:
    try:
        return dict(tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"])
    except (OSError, ValueError, KeyError) as error:
        raise fail(str(folder / "pyproject.toml"), f"Upon's own checkout can't be read: {error}") from None
