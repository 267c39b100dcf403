"""What a wheel says about itself, read from its zip: name, version, licence, what it requires."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

from upon import UponError

MAX_METADATA = 4 * 2**20  # bytes; a long description is in it
IDS = (
    *("0BSD", "AGPL-3.0-only", "AGPL-3.0-or-later", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0"),
    *("CC-BY-4.0", "EPL-2.0", "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "HPND", "ISC"),
    *("LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later", "MIT", "MIT-0", "MPL-2.0"),
    *("NCSA", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib"),
)
NAMES = {  # how else people write them, in lower case, most without "license" at their end
    "expat": "MIT",
    "apache 2.0": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache software": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache, version 2.0": "Apache-2.0",
    "2-clause bsd": "BSD-2-Clause",
    "3-clause bsd": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mpl 2.0": "MPL-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psf": "PSF-2.0",
    "python software foundation": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
    "cc-by 4.0": "CC-BY-4.0",
}
SPDX = {**{known.lower(): known for known in IDS}, **NAMES}


@dataclass(frozen=True, slots=True)
class Metadata:
    """licenses: as CycloneDX writes them. requires: normalised names of what it needs without an extra."""

    name: str
    version: str
    licenses: tuple[dict[str, Any], ...]
    requires: tuple[str, ...]


def read_metadata(wheel: Path) -> Metadata:
    """From the METADATA file in its .dist-info folder. UponError where the file is no wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
            if len(found) != 1 or archive.getinfo(found[0]).file_size > MAX_METADATA:
                raise UponError(f"{wheel.name!r} is no wheel: it needs one METADATA file; fetch it again")
            message = message_from_bytes(archive.read(found[0]))
    except zipfile.BadZipFile as error:
        raise UponError(f"{wheel.name!r} is no wheel ({error}): fetch it again") from error
    requires = dict.fromkeys(filter(None, map(_required, _all(message, "Requires-Dist"))))
    return Metadata(_one(message, "Name"), _one(message, "Version"), licenses_of(message), tuple(requires))


def licenses_of(message: Message) -> tuple[dict[str, Any], ...]:
    """License-Expression where it says so (PEP 639), else a short License, else the classifiers.

    A License field of several lines is a licence's text, which the classifiers name better.
    """
    expression = _one(message, "License-Expression")
    if expression:
        return ({"expression": expression},)
    written = _one(message, "License")
    written = "" if written.upper() == "UNKNOWN" else written
    classified = [text.rpartition("::")[2].strip() for text in _all(message, "Classifier") if "License ::" in text]
    classified = [name for name in classified if name != "OSI Approved"]
    if written and "\n" not in written and len(written) < 80:
        return (named_license(written),)
    if not classified and written:
        classified = [written.splitlines()[0].strip()]
    return tuple(named_license(name) for name in dict.fromkeys(filter(None, classified)))


def named_license(name: str) -> dict[str, Any]:
    """The SPDX identifier where the name stands for one, else the name as it is."""
    plain = re.sub(r"\s*licen[sc]e$", "", re.sub(r"^the\s+", "", name.strip().lower())).strip()
    known = SPDX.get(plain) or SPDX.get(name.strip().lower())
    return {"license": {"id": known} if known else {"name": name.strip()}}


def normalized(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _required(line: str) -> str | None:
    """The name in a Requires-Dist line. One for an extra counts for nobody who did not ask for the extra."""
    requirement, _, marker = line.partition(";")
    found = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    return None if found is None or re.search(r"\bextra\s*==", marker) else normalized(found[1].rstrip("._-"))


def _one(message: Message, header: str) -> str:
    value = message.get(header)
    return "" if value is None else str(value).strip()


def _all(message: Message, header: str) -> Sequence[str]:
    return [str(value) for value in message.get_all(header, [])]
