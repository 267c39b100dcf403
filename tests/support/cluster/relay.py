"""Connections passed on, byte by byte: what a listener takes goes to the first target that answers."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

Address: TypeAlias = tuple[str, int]
Targets: TypeAlias = Callable[[], Sequence[Address]]
CONNECT_TIMEOUT = 5.0
START_TIMEOUT = 10.0
PIECE = 65536


class Relay:
    """Any number of listeners, all in one thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def start(self) -> None:
        threading.Thread(target=self._loop.run_forever, name="relay", daemon=True).start()

    def open(self, at: Address | socket.socket, targets: Targets) -> Callable[[], None]:
        """Returns what closes the listener; its connections last. targets: looked at for each. Raises OSError."""
        started = asyncio.run_coroutine_threadsafe(_serve(at, targets), self._loop).result(START_TIMEOUT)
        return lambda: self._close(started)

    def _close(self, server: asyncio.Server) -> None:
        self._loop.call_soon_threadsafe(server.close)


async def _serve(at: Address | socket.socket, targets: Targets) -> asyncio.Server:
    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _pass(targets, reader, writer)

    if isinstance(at, socket.socket):
        return await asyncio.start_server(take, sock=at)
    return await asyncio.start_server(take, *at)


async def _pass(targets: Targets, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    ends = list(targets())
    random.shuffle(ends)
    for end in ends:
        with suppress(OSError, asyncio.TimeoutError):
            there = await asyncio.wait_for(asyncio.open_connection(*end), CONNECT_TIMEOUT)
            break
    else:
        writer.transport.abort()
        return
    await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
    for side in (writer, there[1]):
        side.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(PIECE):
            target.write(piece)
            await target.drain()
    except OSError:
        target.transport.abort()  # a reset is passed on as one
    finally:
        with suppress(OSError, RuntimeError):
            target.write_eof()
