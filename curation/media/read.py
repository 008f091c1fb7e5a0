"""Read: encoded bytes in place, from ranges of files and cells of Parquet columns."""

import io
import os
import stat
import tempfile
import threading
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from itertools import accumulate
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from curation.media.limits import check_bytes
from curation.media.pages import PAGE, page_reference, render_page
from curation.media.window import window
from curation.sample import Reference, SampleError
from curation.uris import is_remote, local_path, open_uri, read_uri, stat_uri

COLUMN = "column:"
COLUMN_BYTES = 64 << 20  # of row groups at hand, in each worker; one that is larger is at hand by itself
# A longer clip is not held in memory: it is decoded from a file, an object of a store from a temporary one.
LONG_BYTES = 16 << 20


def read_reference(reference: Reference) -> bytes:
    """The encoded bytes a reference names.

    A range of a file is read with one positioned read; `offset` 0 and `size` 0 without a member mean the whole file. Of
    a Parquet cell the row group that holds it is read and kept, among the last COLUMN_BYTES of them, so reading in row
    order reads each group once. `uri` is a local path, or a URL that fsspec opens.

    Raises:
        SampleError: the bytes are missing, too many or fewer than the reference says; retryable where the store failed.
    """
    check_bytes(reference.size, what=_place(reference))
    if reference.member.startswith(PAGE):
        return render_page(read_reference(page_reference(reference)), reference)
    if reference.member.startswith("clip:"):
        from curation.media.excerpt import clip_reference, read_excerpt  # PyAV takes 0.1 s to import

        return read_excerpt(open_reference(clip_reference(reference)), reference)
    with _explained(reference):
        if not reference.addressable:
            return _read_cell(reference)
        return _read_remote(reference) if is_remote(reference.uri) else _read_local(reference)


@contextmanager
def _explained(reference: Reference) -> Iterator[None]:
    """What goes wrong in reading it, as an error of the sample."""
    try:
        yield
    except FileNotFoundError as error:
        raise SampleError(f"{_place(reference)}: no such file: put it there or correct the path") from error
    except (OSError, pa.ArrowException) as error:
        retryable = isinstance(error, OSError)
        raise SampleError(f"{_place(reference)}: {error}: check the file, then retry", retryable=retryable) from error


def read_references(references: Iterable[Reference]) -> Iterator[bytes]:
    """The bytes of each reference, in order; cheapest when sorted by uri, then offset.

    Raises:
        SampleError: as `read_reference`.
    """
    return map(read_reference, references)


def open_reference(reference: Reference) -> BinaryIO:
    """The encoded bytes a reference names, as a seekable file.

    What is longer than LONG_BYTES is never in memory whole: a range of a file is read where it lies, of an object a
    temporary file is made. What no ranged read returns (Parquet cells, pages, excerpts) comes from memory.

    Raises:
        SampleError: as `read_reference`. OSError: there is no room for the temporary file.
    """
    if not reference.addressable or 0 < reference.size <= LONG_BYTES:
        return io.BytesIO(read_reference(reference))
    return _fetched(reference) if is_remote(reference.uri) else _open_local(reference)


def _open_local(reference: Reference) -> BinaryIO:
    with _explained(reference), ExitStack() as undo:
        file = undo.enter_context(_regular_file(reference))
        there = os.fstat(file.fileno()).st_size
        size = _wanted(reference, there)
        _check_whole(reference, min(size, max(0, there - reference.offset)), size)
        undo.pop_all()  # it stays open
        return window(file, reference.offset, size)


def _fetched(reference: Reference) -> BinaryIO:
    with _explained(reference):
        size = _wanted(reference, 0 if reference.size else stat_uri(reference.uri)[0])
    with ExitStack() as undo:
        file = undo.enter_context(tempfile.TemporaryFile())
        for at in range(0, size, LONG_BYTES):
            with _explained(reference):
                piece = read_uri(reference.uri, reference.offset + at, min(LONG_BYTES, size - at))
            file.write(piece)
        _check_whole(reference, file.tell(), size)
        file.seek(0)
        undo.pop_all()  # it stays open
        return file


def _place(reference: Reference) -> str:
    if not reference.addressable:
        return f"{reference.uri} row {reference.offset:,} of {reference.member}"
    member = f" member {reference.member}" if reference.member else ""
    return f"{reference.uri}{member} at {reference.offset:,}"


def _path(uri: str) -> str:
    if "\0" in uri:
        raise SampleError(f"path {uri!r} holds a NUL byte: correct it at the source")
    return local_path(uri)


def _regular_file(reference: Reference) -> BinaryIO:
    # Non-blocking: opening a named pipe would otherwise wait for a writer for ever.
    descriptor = os.open(_path(reference.uri), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SampleError(f"{_place(reference)}: not a regular file: name a file")
    return open(descriptor, "rb", buffering=0)


def _read_local(reference: Reference) -> bytes:
    with _regular_file(reference) as file:
        descriptor = file.fileno()
        size = _wanted(reference, os.fstat(descriptor).st_size)
        chunks: list[bytes] = []
        at, end = reference.offset, reference.offset + size
        while at < end and (chunk := os.pread(descriptor, end - at, at)):
            chunks.append(chunk)
            at += len(chunk)
    return _whole(reference, b"".join(chunks), size)


def _read_remote(reference: Reference) -> bytes:
    size = _wanted(reference, 0 if reference.size else stat_uri(reference.uri)[0])
    return _whole(reference, read_uri(reference.uri, reference.offset, size), size)


def _wanted(reference: Reference, file_size: int) -> int:
    if reference.offset < 0 or reference.size < 0:
        raise SampleError(f"{_place(reference)}: negative offset or size ({reference.size:,}): rebuild the reference")
    whole = not reference.member and not reference.offset and not reference.size
    size = file_size if whole else reference.size
    check_bytes(size, what=_place(reference))
    return size


def _whole(reference: Reference, data: bytes, size: int) -> bytes:
    _check_whole(reference, len(data), size)
    return data


def _check_whole(reference: Reference, there: int, size: int) -> None:
    if there != size:
        raise SampleError(f"{_place(reference)}: {there:,} of {size:,} bytes are there: fetch the file again")


def _read_cell(reference: Reference) -> bytes:
    path, row = reference.member.removeprefix(COLUMN), reference.offset
    uri = reference.uri if is_remote(reference.uri) else _path(reference.uri)
    # A rewritten file must not be answered from the old one's row group.
    version = _recent_version(uri, int(time.monotonic()) // 10) if is_remote(uri) else _version(uri)
    ends = _group_ends(uri, version)
    if not 0 <= row < (ends[-1] if ends else 0):
        raise SampleError(f"{_place(reference)}: the file has {ends[-1] if ends else 0:,} rows: rebuild the reference")
    group = bisect_right(ends, row)
    try:
        column, inner = _column(uri, version, group, path)
        cell: Any = column[row - (ends[group - 1] if group else 0)]
        for name in inner:
            cell = cell[int(name) if isinstance(cell, pa.ListScalar | pa.LargeListScalar) else name]
        value = cell.as_py()
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise SampleError(f"{_place(reference)}: no such value ({error}): name a binary column") from error
    if value is None:
        raise SampleError(f"{_place(reference)}: holds no bytes: embed the file, or drop the sample at its source")
    if not isinstance(value, bytes):
        raise SampleError(f"{_place(reference)}: found {type(value).__name__}, wanted bytes: name a binary column")
    check_bytes(len(value), what=_place(reference))
    return _whole(reference, value, reference.size or len(value))


def _version(path: str) -> tuple[int, int]:
    facts = os.stat(path)  # noqa: PTH116 - once per cell: Path would cost more than the call
    return facts.st_size, facts.st_mtime_ns


@lru_cache(maxsize=1024)
def _recent_version(uri: str, now: int) -> tuple[int, str]:  # noqa: ARG001 - one request in ten seconds, not one per cell
    return stat_uri(uri)


def open_parquet(uri: str) -> pq.ParquetFile:
    """A Parquet file on disk or in a store.

    Raises:
        OSError, pa.ArrowException: it cannot be opened, or is none.
    """
    if is_remote(uri):
        return pq.ParquetFile(open_uri(uri))
    return pq.ParquetFile(local_path(uri), memory_map=False)


@lru_cache(maxsize=256)
def _group_ends(uri: str, version: tuple[int, int | str]) -> list[int]:  # noqa: ARG001 - version is part of the key
    with open_parquet(uri) as file:
        return list(accumulate(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)))


def _column(uri: str, version: tuple[int, int | str], group: int, path: str) -> tuple[pa.ChunkedArray, list[str]]:
    """A row group's column and the names that lead from its cells to the value; the last ones read are at hand, as conversations name
    pictures in any order.
    """
    key = (uri, version, group, path)
    with _columns_lock:
        known = _columns.pop(key, None)
        found = known or _read_column(uri, group, path)
        _columns[key] = found  # last in order: the first is the one that was not asked for the longest
        while not known and len(_columns) > 1 and sum(column.nbytes for column, _ in _columns.values()) > COLUMN_BYTES:
            del _columns[next(iter(_columns))]
        return found


_columns_lock = threading.Lock()
_columns: dict[tuple[str, tuple[int, int | str], int, str], tuple[pa.ChunkedArray, list[str]]] = {}


def _read_column(uri: str, group: int, path: str) -> tuple[pa.ChunkedArray, list[str]]:
    with open_parquet(uri) as file:
        names = file.schema_arrow.names
        top, _, rest = (path, "", "") if path in names else path.partition(".")
        if top not in names:
            raise KeyError(f"columns are {', '.join(names)}")
        inner = rest.split(".") if rest else []
        struct = inner and not any(name.isdigit() for name in inner)
        table = file.read_row_group(group, columns=[path if struct else top], use_threads=False)
        if top not in table.column_names:
            raise KeyError(f"{top} is {file.schema_arrow.field(top).type}")
        return table.column(top), inner
