"""Modules compiled ahead of time, in a process of its own.

How this process was started (-O, -W) must not show in the result, nor what it did: marshal looks at how many other
objects hold a constant.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from types import TracebackType

from upon_build.project.problems import fail

_LENGTH = struct.Struct("<i")
_CHILD = """
import importlib.util, marshal, struct, sys, warnings
warnings.simplefilter("ignore")
source, result, length = sys.stdin.buffer, sys.stdout.buffer, struct.Struct("<i")
while start := source.read(8):
    name = source.read(length.unpack(start[:4])[0]).decode()
    content = source.read(length.unpack(start[4:])[0])
    try:
        code = marshal.dumps(compile(content, name, "exec", dont_inherit=True))
    except (SyntaxError, ValueError, RecursionError, OverflowError):
        result.write(length.pack(-1))
    else:
        head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(content)
        result.write(length.pack(len(head) + len(code)) + head + code)
    code = content = name = None
    result.flush()
"""


def running_python() -> str:
    """X.Y.Z of what compiles: bytecode is the same for the same source and the same of these."""
    return ".".join(map(str, sys.version_info[:3]))


def check_bytecode(python: str, where: str = "--bytecode") -> None:
    """Raise ProjectError where this interpreter can't compile for Python X.Y."""
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if python != running or sys.implementation.name != "cpython":
        message = f"bytecode of Python {python} can't be made by {sys.implementation.name} {running}"
        raise fail(where, message, f"run `func` with Python {python}, or leave bytecode out")


def cache_name(path: str, python: str) -> str:
    """`a/__pycache__/b.cpython-311.pyc` of `a/b.py` and Python 3.11."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-{python.replace('.', '')}.pyc"


class Compiler:
    """The process, while the block lasts."""

    def __enter__(self) -> Compiler:
        command = [sys.executable, "-s", "-S", "-P", "-c", _CHILD]
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        env["PYTHONHASHSEED"] = "0"  # which -I would ignore
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.__exit__(None, None, None)

    def compile(self, source: bytes, path: str) -> bytes | None:
        """The content of the .pyc, which Python takes without looking at the source; None where that is no Python.

        path: absolute, in the image; tracebacks show it.
        """
        name = path.encode()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(_LENGTH.pack(len(name)) + _LENGTH.pack(len(source)) + name + source)
        self._process.stdin.flush()
        start = self._process.stdout.read(_LENGTH.size)
        if len(start) < _LENGTH.size:
            raise RuntimeError(f"the compiler ended at {path!r}")
        (size,) = _LENGTH.unpack(start)
        return None if size < 0 else self._process.stdout.read(size)
