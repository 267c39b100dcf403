"""Runs a documentation page as its reader would, in a folder of its own.

    ```python app.py      text for a file: the first block makes it, the next ones go on writing it
    ```python over=app.py text for the same file, in place of all that it held
    ```python from=app.py lines that stand in that file, in this order
    ```python             a script, run to its end
    ```yaml               a part of func.yaml, checked against the schema
    ```console            `$ command` lines with what they print; a command that stays runs until the page's end

A page that builds images gets a registry and a base of the tests' own. In expected output `...` stands for anything,
alone on a line for any lines; numbers and ids are not compared.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from support.func import environment
from support.terminal import Terminal, on_terminal

BIN = Path(sys.executable).parent
STAYS = re.compile(r"(func run|make run)\b")
FENCE = re.compile(r"^```(\w*)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARYING = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+(?:[.,:]\d+)*")


class Block(NamedTuple):
    language: str
    name: str
    text: str


class Command(NamedTuple):
    line: str
    expected: str


def blocks_of(page: str) -> list[Block]:
    return [Block(*found) for found in FENCE.findall(page)]


def commands_of(text: str) -> list[Command]:
    """The `$` lines of a console block, each with the output below it; a `\\` at the end continues a command."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    found = []
    for part in parts:
        lines = part.split("\n")
        length = 1
        while lines[length - 1].endswith("\\"):
            length += 1
        found.append(Command("\n".join(lines[:length]), "\n".join(lines[length:]).strip()))
    return found


def normal(text: str) -> str:
    """Text without what changes from run to run: numbers and ids become N, the spaces between columns one."""
    without_numbers = re.sub(r"[ \t]+\n", "\n", VARYING.sub("N", text)).strip()
    return re.sub(r"(?<=\S) {2,}", " ", without_numbers)


def pattern_of(expected: str) -> re.Pattern[str]:
    escaped = re.escape(normal(expected))
    lines = ["(?:.*\n)*?.*" if line == re.escape("...") else line for line in escaped.split("\\\n")]
    return re.compile("\n".join(lines).replace(re.escape("..."), ".*"))


class Reader:
    """One reader with one folder and one port, going through a page.

    env: more variables; registry: what `ghcr.io` stands for in commands.
    """

    def __init__(self, folder: Path, stack: ExitStack, env: Mapping[str, str] = {}, registry: str = "ghcr.io") -> None:
        self.folder = folder
        self.env = env
        self.registry = registry
        self.port = free_port()
        self.began: set[Path] = set()
        self._stack = stack
        self._running: tuple[Command, Terminal] | None = None

    def read(self, page: str) -> None:
        for block in blocks_of(page):
            match block:
                case Block(_, name, text) if name.startswith("from="):
                    self.compare(name.removeprefix("from="), text)
                case Block(_, name, text) if name.startswith("over="):
                    self.began.discard(self.folder / name.removeprefix("over="))
                    self.write(name.removeprefix("over="), text)
                case Block(_, name, text) if name:
                    self.write(name, text)
                case Block("python", _, text):
                    self.run(f"python - <<'END'\n{text}\nEND")
                case Block("console", _, text):
                    for command in commands_of(text):
                        self.type(command)
        if list(self.folder.glob("tests/test_*.py")):
            self.run("python -m pytest -q -p no:cacheprovider")
        self.end_running()

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() + "\n\n" if path in self.began else ""
        path.write_text(before + text)
        self.began.add(path)

    def compare(self, name: str, text: str) -> None:
        """Whether these lines stand in the file in this order, others between them."""
        lines = iter((self.folder / name).read_text().splitlines())
        missing = [line for line in text.splitlines() if line and line not in lines]
        assert [] == missing, f"not in {name}, or not in this order"

    def type(self, command: Command) -> None:
        if STAYS.search(command.line):
            self.end_running()
            self.start(command)
            return
        out = self.run(command.line)
        if command.expected:
            assert pattern_of(command.expected).fullmatch(normal(out)), (
                f"$ {command.line}\nprinted:\n{out}\nthe page says:\n{command.expected}"
            )

    def run(self, line: str) -> str:
        """Run one command in the page's shell; returns all it printed. The folder it ends in is the next one's."""
        script = f"{self.local(line)}\ncode=$?; pwd >&3; exit $code"
        where, said = os.pipe()
        with os.fdopen(where) as end:
            done = subprocess.run(
                ["bash", "-c", f"exec 3>&{said}\n{script}"],
                cwd=self.folder,
                env=self.environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=180,
                pass_fds=[said],
                check=False,
            )
            os.close(said)
            self.folder = Path(end.read().strip() or self.folder)
        assert done.returncode == 0, f"$ {line}\nended with {done.returncode}:\n{done.stdout}"
        return done.stdout.replace(self.registry, "ghcr.io")

    def start(self, command: Command) -> None:
        line = command.line.replace("make run", f"make -s -o setup-all BIN={BIN} ARGS='--port {self.port}' run")
        line = line.replace("func run", f"func run --port {self.port}")
        shell = ["bash", "-c", line if "make" in line else f"exec {line}"]
        terminal = self._stack.enter_context(on_terminal(shell, cwd=self.folder, env=self.environment()))
        terminal.wait_for("Ready")
        self._running = (command, terminal)

    def end_running(self) -> None:
        """ctrl-C; each line that the page shows must have been seen."""
        if self._running is None:
            return
        command, terminal = self._running
        self._running = None
        deadline = time.monotonic() + 30
        wanted = [line for line in command.expected.splitlines() if line.strip() not in ("", "...", "^C")]
        while [line for line in not_in(terminal.text, wanted) if "stop" not in line]:
            assert time.monotonic() < deadline, f"{not_in(terminal.text, wanted)} not seen in:\n{terminal.text}"
            assert not terminal.ends_within(0.1), terminal.text
        assert terminal.ctrl_c() == 0, terminal.text
        assert [] == not_in(terminal.text, wanted), f"not seen in:\n{terminal.text}"

    def local(self, line: str) -> str:
        return re.sub(r"(localhost|127\.0\.0\.1):8080", rf"\1:{self.port}", line.replace("ghcr.io", self.registry))

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in environment().items() if not name.startswith("MAKE")}
        return {**kept, "PATH": f"{BIN}:{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "100", **self.env}


def not_in(text: str, wanted: list[str]) -> list[str]:
    """The wanted lines that the text does not hold, in whatever order they stand there."""
    seen = normal(text)
    return [line for line in wanted if not pattern_of(line).search(seen)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
