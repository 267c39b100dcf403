"""The end of the process, whatever threads the person's code left running.

Python waits for every thread that is no daemon, without end: a module that starts one would keep `func` from ending.
"""

from __future__ import annotations

import os
import sys
import threading
import time

import click

PATIENCE = 3.0  # seconds that threads have to end by themselves


def leave(code: object) -> None:
    """Let Python end by itself, with a daemon thread that ends the process once the patience is over.

    code: as SystemExit has it. Pools of threads end only while Python waits, so nothing is joined here.
    """
    if _left():
        number = code if isinstance(code, int) else int(code is not None)
        threading.Thread(target=_end, args=(number,), name="upon-leave", daemon=True).start()


def _left() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]


def _end(code: int) -> None:
    deadline = time.monotonic() + PATIENCE
    left = _left()
    for thread in left:
        thread.join(max(0.0, deadline - time.monotonic()))
    names = [thread.name for thread in left if thread.is_alive()]
    if names:
        click.echo(f"ended without waiting for threads that still run: {', '.join(names)}", err=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
