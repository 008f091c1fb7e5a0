"""Cells: bytes in cells of Parquet files, which can only be read by whole columns of a row group.

A small column chunk is kept in memory, a large one is unpacked once into a temporary file of the node, from which its cells are then
taken. Parts whose rows lie in one large row group so need no more memory than those of many small ones.
"""

import os
import tempfile
import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from curation.sample import SampleError
from curation.uris import is_remote, local_path, open_uri, stat_uri

COLUMN = "column:"
COLUMN_BYTES = 64 << 20  # of column chunks in memory, in each worker; a larger one is unpacked
UNPACKED_BYTES = 4 << 30  # of unpacked ones; one that is larger is there by itself
# A chunk is read in pieces of so many bytes, of a store with one request each, and taken apart in batches of so many bytes or rows. What
# is in memory at once beside that is its largest page: commonly 1,024 rows.
_PIECE_BYTES, _REMOTE_PIECE_BYTES = 1 << 20, 16 << 20
_BATCH_BYTES, _BATCH_ROWS = 8 << 20, 1024


def open_parquet(uri: str) -> pq.ParquetFile:
    """A Parquet file on disk or in a store; column chunks of one with large row groups are read piece by piece.

    Raises:
        OSError, pa.ArrowException: it cannot be opened, or is none.
    """
    file = pq.ParquetFile(_opened(uri), memory_map=False)
    footer = file.metadata
    if all(footer.row_group(group).total_byte_size <= COLUMN_BYTES for group in range(footer.num_row_groups)):
        return file  # Arrow asks for all columns of a group at once, which a store answers sooner
    file.close(force=True)
    piece = _REMOTE_PIECE_BYTES if is_remote(uri) else _PIECE_BYTES
    return pq.ParquetFile(_opened(uri), metadata=footer, memory_map=False, pre_buffer=False, buffer_size=piece)


def _opened(uri: str) -> Any:
    return open_uri(uri) if is_remote(uri) else local_path(uri)


def column_bytes(metadata: pq.FileMetaData, group: int, columns: Sequence[str]) -> int:
    """Uncompressed bytes of some top-level columns in a row group."""
    chunks = (metadata.row_group(group).column(i) for i in range(metadata.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns)


def batch_rows(metadata: pq.FileMetaData, group: int, columns: Sequence[str]) -> int:
    """Rows of a batch of these columns that is neither large nor small; a matter of the file alone, not of who reads it."""
    per_row = column_bytes(metadata, group, columns) / max(1, metadata.row_group(group).num_rows)
    return max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / max(1.0, per_row))))


def read_cell(uri: str, path: str, row: int, *, place: str) -> bytes:
    """The bytes in one cell.

    Args:
        uri: of the file.
        path: the column, and what leads from its cells to the value ("image.bytes", "pages.1.bytes").
        row: in the file.
        place: what errors call it.

    Raises:
        SampleError: there is no such cell, or no bytes in it. OSError, pa.ArrowException: the file cannot be read.
    """
    # A rewritten file must not be answered from the old one's row group.
    version = _recent_version(uri, int(time.monotonic()) // 10) if is_remote(uri) else _version(uri)
    ends = _group_ends(uri, version)
    if not 0 <= row < (ends[-1] if ends else 0):
        raise SampleError(f"{place}: the file has {ends[-1] if ends else 0:,} rows: rebuild the reference")
    group = bisect_right(ends, row)
    try:
        column, inner = _column(uri, version, group, path)
        cell: Any = column[row - (ends[group - 1] if group else 0)]
        for name in inner:
            cell = cell[int(name) if isinstance(cell, pa.ListScalar | pa.LargeListScalar) else name]
        value = cell.as_py()
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise SampleError(f"{place}: no such value ({error}): name a binary column") from error
    if value is None:
        raise SampleError(f"{place}: holds no bytes: embed the file, or drop the sample at its source")
    if not isinstance(value, bytes):
        raise SampleError(f"{place}: found {type(value).__name__}, wanted bytes: name a binary column")
    return value


def _version(path: str) -> tuple[int, int]:
    facts = os.stat(path)  # noqa: PTH116 - once per cell: Path would cost more than the call
    return facts.st_size, facts.st_mtime_ns


@lru_cache(maxsize=1024)
def _recent_version(uri: str, now: int) -> tuple[int, str]:  # noqa: ARG001 - one request in ten seconds, not one per cell
    return stat_uri(uri)


@lru_cache(maxsize=256)
def _group_ends(uri: str, version: tuple[int, int | str]) -> list[int]:  # noqa: ARG001 - version is part of the key
    with open_parquet(uri) as file:
        return list(accumulate(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)))


Key = tuple[str, tuple[int, int | str], int, str]


@dataclass
class _Kept:
    """The columns last read, up to so many bytes or a single one, as conversations name pictures in any order."""

    limit: int
    columns: dict[Key, tuple[pa.ChunkedArray, list[str]]] = field(default_factory=dict)

    def add(self, key: Key, column: tuple[pa.ChunkedArray, list[str]]) -> None:
        self.columns[key] = column  # last in order: the first is the one that was not asked for the longest
        while len(self.columns) > 1 and sum(column.nbytes for column, _ in self.columns.values()) > self.limit:
            del self.columns[next(iter(self.columns))]


_lock = threading.Lock()
_in_memory, _unpacked = _Kept(COLUMN_BYTES), _Kept(UNPACKED_BYTES)


def _column(uri: str, version: tuple[int, int | str], group: int, path: str) -> tuple[pa.ChunkedArray, list[str]]:
    """A row group's column and the names that lead from its cells to the value."""
    key = (uri, version, group, path)
    with _lock:
        for kept in (_in_memory, _unpacked):
            if found := kept.columns.pop(key, None):
                kept.columns[key] = found
                return found
        with open_parquet(uri) as file:
            name, top, inner = _names(file.schema_arrow, path)
            large = column_bytes(file.metadata, group, [top]) > COLUMN_BYTES
            table = (
                unpack(file, group, name) if large else file.read_row_group(group, columns=[name], use_threads=False)
            )
            if top not in table.column_names:
                raise KeyError(f"{top} is {file.schema_arrow.field(top).type}")
        found = table.column(top), inner
        (_unpacked if large else _in_memory).add(key, found)
        return found


def _names(schema: pa.Schema, path: str) -> tuple[str, str, list[str]]:
    """What to read, the column it lies in, and the names from that column's cells to the value."""
    top, _, rest = (path, "", "") if path in schema.names else path.partition(".")
    if top not in schema.names:
        raise KeyError(f"columns are {', '.join(schema.names)}")
    inner = rest.split(".") if rest else []
    struct = inner and not any(name.isdigit() for name in inner)
    return path if struct else top, top, inner


def unpack(file: pq.ParquetFile, group: int, name: str) -> pa.Table:
    """A column of a row group in a temporary file, whose pages the system takes back when it needs the memory.

    Raises:
        OSError: there is no room for it.
    """
    rows = batch_rows(file.metadata, group, [name.partition(".")[0]])
    batches = file.iter_batches(rows, row_groups=[group], columns=[name], use_threads=False)
    first = next(batches)
    with tempfile.NamedTemporaryFile(prefix="vl3-column-") as unpacked:
        with pa.ipc.new_file(unpacked, first.schema) as writer:
            for batch in chain([first], batches):
                writer.write_batch(batch)
        unpacked.flush()
        return pa.ipc.open_file(pa.memory_map(unpacked.name)).read_all()  # the file's name goes, the map keeps it
