"""Streams: the bytes of plain, gzip and Zstandard files, bounded in memory, and never silently short."""

import gzip
import io
import zlib
from typing import Any, BinaryIO, cast

import zstandard

from curation.uris import is_remote, open_uri

# What a stream raises where its file is cut or rotten.
DAMAGE = (EOFError, zlib.error, zstandard.ZstdError, OSError)
# What a .zst file may ask for as its window; the default of `zstd -d` is the same.
_MAX_WINDOW_BYTES = 128 << 20
# A block of 4 bytes may unpack to 128 KiB, so this much input gives at most 32 MiB at once, bomb or not.
_PIECE = 1 << 10
_BUFFER = 1 << 20


def is_compressed(uri: str) -> bool:
    """Whether the name says gzip or Zstandard."""
    return uri.lower().endswith((".gz", ".zst"))


def open_stream(uri: str) -> BinaryIO:
    """The decompressed bytes of a file.

    Raises:
        OSError: it cannot be opened. Reading raises one of DAMAGE where the file is cut or rotten.
    """
    if uri.lower().endswith(".gz"):
        # gzip closes a file it opened itself, not one it was given; an object in a store holds nothing open.
        return cast(BinaryIO, gzip.GzipFile(fileobj=open_uri(uri)) if is_remote(uri) else gzip.open(uri, "rb"))
    if uri.lower().endswith(".zst"):
        return io.BufferedReader(ZstdStream(uri), _BUFFER)
    return open_uri(uri)


class ZstdStream(io.RawIOBase):
    """All frames of a .zst file. Unlike the library's own reader it does not take a cut file for a short one."""

    def __init__(self, uri: str) -> None:
        self._file = open_uri(uri)  # closed with the stream
        self._frame = self._next_frame()
        self._started = False
        self._ready = b""

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Fill the buffer as far as is convenient; 0 at the end of the last frame.

        Raises:
            EOFError: the file ends within a frame.
            zstandard.ZstdError: it is no Zstandard, or rotten.
        """
        while not self._ready:
            piece = self._file.read(_PIECE)
            if not piece:
                if self._started:
                    raise EOFError("Zstandard frame ends before its end marker")
                return 0
            self._ready = self._decompress(piece)
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _decompress(self, piece: bytes) -> bytes:
        ready: list[bytes] = []
        while piece:
            self._started = True
            ready.append(self._frame.decompress(piece))
            piece = b""
            if self._frame.eof:
                piece = self._frame.unused_data
                self._frame, self._started = self._next_frame(), False
        return b"".join(ready)

    def _next_frame(self) -> Any:  # zstandard exports no name for it
        return zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
