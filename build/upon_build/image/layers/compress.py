"""Compression of layers: always the same program at a pinned level, since another one would give another digest."""

from __future__ import annotations

from upon import MissingExtra

LEVEL = 2
FAST = 1  # for what hardly compresses, such as weights; level 0 makes those a quarter larger, and is slower
CHUNK = 2**20  # bytes that go into the compressor at a time: its output may depend on that


def name_and_version() -> str:
    """What compresses, for keys: another version may write other bytes. Raises MissingExtra."""
    try:
        import isal
    except ImportError:
        raise MissingExtra("building images", "deploy") from None
    return f"isal {isal.__version__} with ISA-L {isal.ISAL_VERSION}"


class Gzip:
    """A gzip stream without name and time. level: 0 to 3. Raises MissingExtra."""

    def __init__(self, level: int = LEVEL) -> None:
        try:
            from isal import isal_zlib
        except ImportError:
            raise MissingExtra("building images", "deploy") from None
        self._stream = isal_zlib.compressobj(level, isal_zlib.DEFLATED, 16 + isal_zlib.MAX_WBITS)

    def compress(self, content: bytes | memoryview) -> bytes:
        """What can be written by now. Releases the GIL."""
        return self._stream.compress(content)

    def finish(self) -> bytes:
        return self._stream.flush()
