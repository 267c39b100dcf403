"""Exit codes in one table. Scripts rely on them, so a failure gets its code here and nowhere else."""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Any

import click


class Exit(IntEnum):
    """The process's exit code; MEANINGS says what each stands for."""

    OK = 0
    FAILED = 1
    USAGE = 2
    TIMEOUT = 3
    UNAVAILABLE = 4
    NOT_INSTALLED = 5
    INTERRUPTED = 130


MEANINGS: dict[Exit, str] = {
    Exit.OK: "done; run and serve: stopped by a signal after everything in flight was finished",
    Exit.FAILED: "the function or the platform failed; run and serve: ended by a second signal, or past the drain's"
    " deadline",
    Exit.USAGE: "wrong usage, or a fault in the project: func.yaml, a function file, a model file",
    Exit.TIMEOUT: "no result within the time limit",
    Exit.UNAVAILABLE: "an address can't be used: nothing answers there or lets us in, or the port is taken",
    Exit.NOT_INSTALLED: "something optional is not installed; the message names the command that installs it",
    Exit.INTERRUPTED: "interrupted by ctrl-C",
}


class Fault(click.ClickException):
    """An expected failure: one message (the fact, then the remedy) and an exit code."""

    def __init__(self, message: str, exit: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = int(exit)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

    def show(self, file: Any = None) -> None:
        click.echo(f"Error: {self.format_message()}", file=file, err=file is None)


def fault_from(error: BaseException) -> Fault | None:
    """The Fault that stands for an expected error, or None where the error is a defect of ours."""
    code = exit_of(error)
    if code is None:
        return None
    message = "interrupted" if code is Exit.INTERRUPTED else str(error) or type(error).__name__
    if isinstance(error, OSError) and not _is_ours(error):
        message = error.strerror or message
        message = f"{error.filename}: {message}" if error.filename else message
    return Fault(message, code)


def exit_of(error: BaseException) -> Exit | None:
    """The exit code of an error that commands let through, or None for one that nobody expects."""
    from upon import MissingExtra, ModelError, UsageError
    from upon_build.cluster.api.errors import ClusterUnavailable
    from upon_build.image.tooled.tools import MissingTool
    from upon_build.registry.errors import RegistryUnavailable
    from upon_triggers.source import SourceError

    match error:
        case Fault():
            return Exit(error.exit_code)
        case KeyboardInterrupt():
            return Exit.INTERRUPTED
        case BrokenPipeError():  # `func ... | head`: click ends it in silence
            return None
        case MissingExtra() | MissingTool():
            return Exit.NOT_INSTALLED
        case UsageError() | ModelError():
            return Exit.USAGE
        case TimeoutError():
            return Exit.TIMEOUT
        case ConnectionError() | SourceError() | RegistryUnavailable() | ClusterUnavailable():
            return Exit.UNAVAILABLE
        case OSError(errno=errno.EADDRINUSE | errno.EADDRNOTAVAIL | errno.EACCES) if not error.filename:
            return Exit.UNAVAILABLE
    if _is_ours(error) and isinstance(error.__cause__, OSError) and not error.__cause__.filename:
        return Exit.UNAVAILABLE  # the HTTP server's address
    if _is_ours(error) or (isinstance(error, OSError) and error.errno != errno.EPIPE):
        return Exit.FAILED
    return None


def _is_ours(error: BaseException) -> bool:
    from upon import UponError

    return isinstance(error, UponError)
