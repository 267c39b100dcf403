"""Where a project's code comes from, as git tells it: the revision and the public address of a clean working tree.

Both are inputs of the image: another commit is another image, even with the same files. A working tree with changes
has neither, since the revision would lie; and so has one that git can't read in time.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

DEADLINE = 5.0  # seconds for one question to git
_SCP = re.compile(r"(?:[^@/\s]+@)?([A-Za-z0-9.-]+):(?!/|\d+/)(.+)")
_URL = re.compile(r"(?:https?|ssh|git)://(?:[^@/\s]*@)?([A-Za-z0-9.-]+)(:\d+)?/(.+)")


@dataclass(frozen=True, slots=True)
class Revision:
    """commit: hexadecimal, or empty; source: an https address without credentials, or empty."""

    commit: str = ""
    source: str = ""


def read_revision(folder: Path, *, git: str = "git", deadline: float = DEADLINE) -> Revision:
    """The revision of the project in this folder; empty without git, outside a repository, or with changes."""
    status = _ask(folder, deadline, git, "status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--", ".")
    if status is None:
        return Revision()
    lines = status.splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "")
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit) or any(not line.startswith("#") for line in lines):
        return Revision()
    return Revision(commit, public_address(_ask(folder, deadline, git, "config", "--get", "remote.origin.url") or ""))


def public_address(remote: str) -> str:
    """A remote as an https address, the same for everybody who cloned it: without credentials, port or `.git`.

    Empty for a path on this machine.
    """
    remote = remote.strip()
    match = _URL.fullmatch(remote)
    if match:
        port = match[2] or "" if remote.startswith("http") else ""
        return f"https://{match[1]}{port}/{_path(match[3])}"
    match = _SCP.fullmatch(remote)
    return f"https://{match[1]}/{_path(match[2])}" if match else ""


def _path(path: str) -> str:
    return re.split(r"[?#]", path)[0].strip("/").removesuffix(".git")


def _ask(folder: Path, deadline: float, *command: str) -> str | None:
    """What git answers, or None. It takes no lock and asks nobody for a password."""
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=deadline, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
