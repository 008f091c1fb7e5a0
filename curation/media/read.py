"""Read: encoded bytes in place, from ranges of files and cells of Parquet columns."""

import errno
import io
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

import pyarrow as pa

from curation.media.cells import COLUMN, read_cell
from curation.media.limits import check_bytes
from curation.media.pages import PAGE, page_reference, render_page
from curation.media.window import window
from curation.sample import Reference, SampleError
from curation.uris import is_remote, local_path, read_uri, stat_uri

# A longer clip is not held in memory: it is decoded from a file, an object of a store from a temporary one.
LONG_BYTES = 16 << 20
# What a full disk says; EROFS is what some file systems become after an error.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def read_reference(reference: Reference) -> bytes:
    """The encoded bytes a reference names.

    A range of a file is read with one positioned read; `offset` 0 and `size` 0 without a member mean the whole file. Of
    a Parquet cell the column of its row group is read and kept for the next, in memory or in a temporary file, so that
    reading in row order reads each group once. `uri` is a local path, or a URL that fsspec opens.

    Raises:
        SampleError: the bytes are missing, too many or fewer than the reference says; retryable where the store failed.
        OSError: there is no room for the temporary file.
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
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise  # for a temporary file of ours: no fault of the sample
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
    uri = reference.uri if is_remote(reference.uri) else _path(reference.uri)
    value = read_cell(uri, reference.member.removeprefix(COLUMN), reference.offset, place=_place(reference))
    check_bytes(len(value), what=_place(reference))
    return _whole(reference, value, reference.size or len(value))
