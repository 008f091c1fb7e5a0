"""Journal: what was dear to compute, appended to a file as it comes, so that a crash loses nothing that was finished.

A cache: it may be deleted, and what it holds is a function of the key alone. Every process appends to a file of its own, so
writers never meet; a record torn by a crash is left out when the files are read again.

    record = length of the payload u32 | crc32 of key and payload u32 | key 16 bytes | payload
"""

import hashlib
import os
import struct
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path

_HEAD = struct.Struct("<II16s")
MAX_PAYLOAD = 64 << 20


class Journal:
    """A mapping from keys to bytes in a folder; None for the folder keeps it in memory only."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._known: dict[bytes, bytes] = {}
        self._path: Path | None = None
        self._file = -1
        if folder is not None:
            for path in sorted(folder.glob(f"{name}.*.journal")):
                self._known.update(_records(path.read_bytes()))
            self._path = folder / f"{name}.{uuid.uuid4().hex[:12]}.journal"

    def get(self, key: bytes) -> bytes | None:
        """What was put under the key."""
        return self._known.get(key)

    def put(self, key: bytes, payload: bytes) -> None:
        """Remember; it is in the file (and safe from a crash of this process) when this returns."""
        self._known[key] = payload
        if self._path is None:
            return
        if self._file < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        record = _HEAD.pack(len(payload), zlib.crc32(key + payload), key) + payload
        if os.write(self._file, record) != len(record):
            raise OSError(f"{self._path}: a record was not written whole: is the disk full?")

    def close(self) -> None:
        """Close the file; a later `put` opens it again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._known)


def key_of(*parts: str | bytes) -> bytes:
    """16 bytes that stand for these parts, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.digest()


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + _HEAD.size <= len(data):
        length, checksum, key = _HEAD.unpack_from(data, at)
        payload = data[at + _HEAD.size : at + _HEAD.size + length]
        if length > MAX_PAYLOAD or len(payload) < length or zlib.crc32(key + payload) != checksum:
            return  # torn by a crash: what follows in this file is not to be trusted either
        yield key, payload
        at += _HEAD.size + length
