"""Window: a range of a file as a file of its own, so that a long clip is decoded where it lies and never in memory whole."""

import io
import os
from typing import BinaryIO, cast

# Decoders ask for 32 KiB at a time.
BUFFER_BYTES = 256 << 10


class _Range(io.RawIOBase):
    """Reads at its own position of an open file, which others may read too."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file, self._offset, self._size, self._at = file, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        wanted = min(len(buffer), max(0, self._size - self._at))
        found = os.preadv(self._file.fileno(), [buffer[:wanted]], self._offset + self._at)
        self._at += found
        return found

    def close(self) -> None:
        self._file.close()
        super().close()


def window(file: BinaryIO, offset: int, size: int) -> BinaryIO:
    """`size` bytes of an open file from `offset` on, as a seekable file; closing it closes the file."""
    return cast(BinaryIO, io.BufferedReader(_Range(file, offset, size), BUFFER_BYTES))
