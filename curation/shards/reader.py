"""Reader: samples of a dataset by key or in order, each member with one ranged read through the index."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.shards.index import index_path, read_index
from curation.shards.manifest import Manifest, read_manifest
from curation.uris import is_remote, read_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSample:
    """A sample as it lies in a shard: the parsed json member, and the encoded bytes of its media in order."""

    key: str
    fields: Mapping[str, Any]
    media: tuple[bytes, ...]


class ShardReader:
    """Reads one shard by row. Holds an open file; close it or use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = read_index(index_path(path))
        self._file = -1 if is_remote(str(path)) else os.open(path, os.O_RDONLY)

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the tar."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _read(self, offset: int, size: int) -> bytes:
        return read_uri(str(self.path), offset, size) if self._file < 0 else os.pread(self._file, size, offset)

    def __len__(self) -> int:
        return self.index.num_rows

    def read(self, row: int) -> StoredSample:
        """The sample of one index row.

        Raises:
            ValueError: the tar is shorter than its index says.
        """
        return read_members(self._read, self.path, self.index["members"][row].as_py(), self.index["key"][row].as_py())

    def __iter__(self) -> Iterator[StoredSample]:
        members, keys = self.index["members"].to_pylist(), self.index["key"].to_pylist()
        for key, places in zip(keys, members, strict=True):
            yield read_members(self._read, self.path, places, key)


def read_members(
    read: Callable[[int, int], bytes], path: Path, members: list[dict[str, Any]], key: str
) -> StoredSample:
    """One sample of a tar, of which `read(offset, size)` gives bytes: its json member and its media in the json's order."""
    data: dict[str, bytes] = {}
    for member in members:
        data[member["name"]] = read(member["offset"], member["size"])
        if len(data[member["name"]]) != member["size"]:
            raise ValueError(
                f"{path}: {member['name']} ends early: the tar is shorter than its index; curate or copy this shard again"
            )
    fields = json.loads(data[f"{key}.json"])
    return StoredSample(key=key, fields=fields, media=tuple(data[medium["member"]] for medium in fields["media"]))


def open_dataset(directory: Path) -> tuple[Manifest, list[Path]]:
    """The manifest and the shard paths of a finished dataset, in order."""
    manifest = read_manifest(directory)
    return manifest, [directory / "shards" / entry.name for entry in manifest.shards]
