"""Window: a range of a file as a file of its own, so that a long clip is decoded where it lies and never in memory whole."""

import io
import os
from typing import BinaryIO, cast

from curation.uris import RangedStream

# Decoders ask for 32 KiB at a time.
BUFFER_BYTES = 256 << 10


class _Range(RangedStream):
    """Reads at its own position of an open file, which others may read too."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        super().__init__(size)
        self._file, self._offset = file, offset

    def read_range(self, buffer: memoryview, at: int) -> int:
        return os.preadv(self._file.fileno(), [buffer], self._offset + at)

    def close(self) -> None:
        self._file.close()
        super().close()


def window(file: BinaryIO, offset: int, size: int) -> BinaryIO:
    """`size` bytes of an open file from `offset` on, as a seekable file; closing it closes the file."""
    return cast(BinaryIO, io.BufferedReader(_Range(file, offset, size), BUFFER_BYTES))
