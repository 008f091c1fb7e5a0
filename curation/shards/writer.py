"""Writer: samples into one tar, plain ustar, the same bytes every time.

mtime 0, uid and gid 0, mode 0444, no names of users, members in the order given. Written to a temporary name and renamed when complete
and on disk, so a shard with its final name is whole. (webdataset's own writer leaves a valid but truncated tar when its block
raises; Python's tarfile is three times slower.)
"""

import ctypes
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from curation.uris import atomic

BLOCK = 512
FLUSH_BYTES = 8 << 20  # write to disk as we go, so that the fsync at the end has little left to wait for
MAX_MEMBER_BYTES = 8 << 30  # eleven octal digits: the ustar limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of a sample: its name after the key (".json", ".0.jpg"), its size, and its bytes in pieces."""

    suffix: str
    size: int
    pieces: Iterable[bytes]


class ShardWriter:
    """Writes one tar. Use as a context manager: leaving it normally publishes the shard, an exception leaves nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = 0
        self.bytes = 0
        self._flushed = 0
        self._publishing = atomic(path)
        self._file = self._publishing.__enter__().open("wb", buffering=1 << 20)
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._write(b"\0" * (2 * BLOCK))
            self._file.close()
        except OSError as failure:  # the disk is full: what was written so far goes with it
            self._publishing.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._publishing.__exit__(kind, error, trace)

    @property
    def sha256(self) -> str:
        """Digest of everything written so far; of the whole shard once it is published."""
        return self._sha256.hexdigest()

    def add(self, key: str, members: Sequence[Member]) -> list[tuple[str, int, int]]:
        """Append a sample; returns (name, offset of its bytes, size) per member.

        Raises:
            ValueError: a member's bytes are not as long as announced, or do not fit ustar.
        """
        written = []
        for member in members:
            name = key + member.suffix
            self._write(tar_header(name, member.size))
            start = self.bytes
            for piece in member.pieces:
                self._write(piece)
            if self.bytes - start != member.size:
                raise ValueError(
                    f"{name}: {self.bytes - start} bytes came, {member.size} were announced: the source changed under us"
                )
            self._write(b"\0" * (-member.size % BLOCK))
            written.append((name, start, member.size))
        self.samples += 1
        return written

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self.bytes += len(data)
        if self.bytes - self._flushed >= FLUSH_BYTES:
            start_writeback(self._file.fileno(), self._flushed, self.bytes - self._flushed)
            self._flushed = self.bytes


def start_writeback(file: int, offset: int, size: int) -> None:
    """Ask the kernel to begin writing a range of an open file to disk; does not wait, and is only a hint."""
    if _sync_file_range is not None:
        _sync_file_range(file, ctypes.c_int64(offset), ctypes.c_int64(size), 2)  # SYNC_FILE_RANGE_WRITE


_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux only


def tar_header(name: str, size: int) -> bytes:
    """The 512 bytes before a member: a regular file, mode 0444, no owner, mtime 0 (POSIX.1-1988 ustar)."""
    encoded = name.encode()
    if len(encoded) > 100:
        raise ValueError(f"member name {name!r} has {len(encoded)} bytes, ustar holds 100: use a shorter suffix")
    if size >= MAX_MEMBER_BYTES:
        raise ValueError(f"{name} has {size} bytes, ustar holds less than {MAX_MEMBER_BYTES}: cut the clip first")
    fields = b"%011o\x00" % size
    checksum = _CHECKSUM_OF_REST + sum(encoded) + sum(fields)
    return b"".join((encoded.ljust(100, b"\0"), _OWNER, fields, _TIME, b"%06o\0 " % checksum, _TAIL))


_OWNER, _TIME, _TAIL = (
    b"0000444\x000000000\x000000000\x00",
    b"00000000000\x00",
    b"0".ljust(101, b"\0") + b"ustar\x0000".ljust(255, b"\0"),
)
# While it is summed up, the checksum itself counts as eight spaces.
_CHECKSUM_OF_REST = sum(_OWNER) + sum(_TIME) + sum(_TAIL) + 8 * ord(" ")
