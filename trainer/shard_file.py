"""Shard file: samples of one shard by row, from a disk or an object store, a member never read twice.

A file `000000.tar.url` in place of a tar holds the address of its bytes: how a dataset elsewhere, or a folder of plain
tars, is mirrored by a local directory that holds its manifest and indexes (trainer.mirror).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from curation.shards import StoredSample, index_path, read_index
from curation.uris import is_remote, patiently, store_of
from trainer.plain import plain_fields

OPEN_SHARDS = 32


class ShardFile:
    """Members of a shard by row; the index is kept as plain lists, which is what makes a read cheap."""

    def __init__(self, path: Path) -> None:
        self.path = path
        index = read_index(index_path(path))
        members = index["members"].combine_chunks()
        self.keys: list[str] = index["key"].to_pylist()
        self._starts: list[int] = members.offsets.to_pylist()
        self._names, self._offsets, self._sizes = (
            members.flatten().field(name).to_pylist() for name in ("name", "offset", "size")
        )
        address = path.with_name(path.name + ".url")
        place = address.read_text(encoding="utf-8").strip() if address.is_file() else str(path)
        self._bytes = _Remote(place) if is_remote(place) else _Local(Path(place))

    def members(self, row: int) -> dict[str, bytes]:
        """Encoded bytes of a row's members by name.

        Raises:
            OSError, ValueError: they cannot be read, or the tar is shorter than its index.
        """
        run = slice(self._starts[row], self._starts[row + 1])
        return self._named(run, self._bytes.read(self._offsets[run], self._sizes[run]))

    def all_members(self, rows: Sequence[int]) -> list[dict[str, bytes]]:
        """The same for several rows; from an object store all of them at once."""
        runs = [slice(self._starts[row], self._starts[row + 1]) for row in rows]
        offsets = [offset for run in runs for offset in self._offsets[run]]
        sizes = [size for run in runs for size in self._sizes[run]]
        data = iter(self._bytes.read(offsets, sizes))
        return [self._named(run, list(islice(data, run.stop - run.start))) for run in runs]

    def _named(self, run: slice, data: list[bytes]) -> dict[str, bytes]:
        if [len(one) for one in data] != self._sizes[run]:
            raise ValueError(f"{self._bytes.name}: a member ends early: the tar is shorter than its index")
        return dict(zip(self._names[run], data, strict=True))

    def read(self, row: int) -> StoredSample:
        """The sample of a row."""
        return stored_sample(self.keys[row], self.members(row))

    def read_all(self, rows: Sequence[int]) -> list[StoredSample]:
        """The samples of several rows."""
        return [stored_sample(self.keys[r], data) for r, data in zip(rows, self.all_members(rows), strict=True)]


@lru_cache(maxsize=OPEN_SHARDS)
def open_shard(path: Path) -> ShardFile:
    """Shards stay open per process; one that the cache lets go of closes its file."""
    return ShardFile(path)


def stored_sample(key: str, members: Mapping[str, bytes]) -> StoredSample:
    """A sample from its members: as curation writes it, or of a plain WebDataset (`trainer.plain`).

    Raises:
        ValueError: there is neither a conversation nor a caption.
    """
    data = members.get(f"{key}.json")
    fields: Any = json.loads(data) if data is not None else None
    if not (isinstance(fields, dict) and "turns" in fields and "media" in fields):
        fields = plain_fields(members, fields)
    return StoredSample(key=key, fields=fields, media=tuple(members[medium["member"]] for medium in fields["media"]))


class _Local:
    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._file = os.open(path, os.O_RDONLY)

    def read(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        file, pread = self._file, os.pread
        return [pread(file, size, offset) for offset, size in zip(offsets, sizes, strict=True)]

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if hasattr(self, "_file"):
            close(self._file)  # bound early: modules are gone when the interpreter ends


class _Remote:
    """Ranges of an object in a store; neighbouring ones are joined into one request, and all are sent at once."""

    JOIN = 1 << 16  # bytes between two members that are read along

    def __init__(self, url: str) -> None:
        self.name = url

    def read(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        order = sorted(range(len(offsets)), key=lambda number: offsets[number])
        spans: list[list[int]] = []
        owner = {}
        for number in order:
            first, last = offsets[number], offsets[number] + sizes[number]
            if spans and first <= spans[-1][1] + self.JOIN:
                spans[-1][1] = max(spans[-1][1], last)
            else:
                spans.append([first, last])
            owner[number] = len(spans) - 1
        starts, ends = [span[0] for span in spans], [span[1] for span in spans]
        store = store_of(self.name)  # asked for each time: a client must not be shared with a forked process
        blocks = patiently(lambda: store.cat_ranges([self.name] * len(spans), starts, ends, on_error="raise"))
        return [
            bytes(blocks[owner[n]][offsets[n] - starts[owner[n]] : offsets[n] - starts[owner[n]] + sizes[n]])
            for n in range(len(offsets))
        ]
