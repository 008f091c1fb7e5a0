"""Reading in place: ranges of files and cells of Parquet columns."""

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.media import cells, read
from curation.media.read import open_reference, read_reference, read_references
from curation.sample import Reference, SampleError

CELLS = [bytes([number]) * (number + 1) for number in range(20)]


@pytest.fixture
def parquet(tmp_path: Path) -> str:
    """20 rows in groups of 6, the bytes flat, in a struct, and in lists of structs."""
    table = pa.table(
        {
            "flat": pa.array(CELLS, pa.binary()),
            "image": pa.array([{"bytes": cell, "path": "p"} for cell in CELLS]),
            "pages": pa.array([[{"bytes": b"first"}, {"bytes": cell}] for cell in CELLS]),
            "a.b": pa.array(CELLS, pa.binary()),
            "text": pa.array(["t"] * 19 + [None]),
        }
    )
    path = str(tmp_path / "part.parquet")
    pq.write_table(table, path, row_group_size=6)
    return path


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("column", ["flat", "image.bytes", "pages.1.bytes", "a.b"])
def test_cells_come_back_in_any_order(parquet: str, column: str, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:
        monkeypatch.setattr(cells, "COLUMN_BYTES", 1)  # every column chunk is unpacked into a file
    for row in [*range(20), 19, 0, 7, 5, 6]:
        reference = Reference(uri=parquet, member=f"column:{column}", offset=row, size=len(CELLS[row]))
        assert read_reference(reference) == CELLS[row]


def groups_read(parquet: str, rows: Iterable[int], monkeypatch: pytest.MonkeyPatch, limit: int) -> int:
    """How many chunks were read from the file."""
    opened: list[str] = []
    monkeypatch.setattr(cells, "_in_memory", cells._Kept(limit))
    list(read_references([Reference(uri=parquet, member="column:flat", offset=0)]))  # its footer is known
    cells._in_memory.columns.clear()
    real = cells.open_parquet
    monkeypatch.setattr(cells, "open_parquet", lambda uri: opened.append(uri) or real(uri))
    list(read_references(Reference(uri=parquet, member="column:flat", offset=row) for row in rows))
    return len(opened)


def test_each_group_is_read_once_in_any_order(parquet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert groups_read(parquet, [*range(20), 19, 0, 7, 12, 1], monkeypatch, cells.COLUMN_BYTES) == 4


def test_no_more_groups_are_at_hand_than_their_bytes_allow(parquet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert groups_read(parquet, [*range(20), 0, 1], monkeypatch, 1) == 5
    assert len(cells._in_memory.columns) == 1


GREEDY = """
import sys, threading, time
from curation.media.read import read_reference
from curation.operator import PartLimits
from curation.sample import Reference
from curation.sources import ParquetSource

def held():
    return next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("RssAnon"))

before, peak, done = held(), 0, threading.Event()
def watch():
    global peak
    while not done.wait(0.005):
        peak = max(peak, held())
thread = threading.Thread(target=watch)
thread.start()
source = ParquetSource(sys.argv[1], id="id", text="id")
for part in source.parts(PartLimits(rows=1000)):
    for sample in source.read(part):
        last = sample
for row in (0, 2999, 5, 1500):
    reference = Reference(uri=sys.argv[1], member="column:image", offset=row)
    assert len(read_reference(reference)) == 100_000
done.set()
thread.join()
print(peak - before, last.origin.name)
"""


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["snappy", "none"])
def test_a_large_row_group_takes_no_more_memory_than_a_small_one(tmp_path: Path, compression: str) -> None:
    noise = [os.urandom(100_000) for _ in range(100)]
    file = tmp_path / "large.parquet"
    images, ids = pa.array([noise[row % 100] for row in range(3000)], pa.binary()), [f"p{row}" for row in range(3000)]
    table = pa.table([images, ids], schema=pa.schema({"image": pa.binary(), "id": pa.string()}))
    pages = {"use_dictionary": False, "write_batch_size": 32}  # of 3 MB
    pq.write_table(table, file, row_group_size=3000, compression=compression, **pages)
    assert file.stat().st_size > 300_000_000
    command = [sys.executable, "-c", GREEDY, str(file)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert said[1] == "p2999"
    assert int(said[0]) < 200  # MiB; the column has 286


def test_no_room_to_unpack_a_column_is_no_fault_of_the_sample(parquet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cells, "COLUMN_BYTES", 1)
    monkeypatch.setattr(cells, "unpack", full)
    monkeypatch.setattr(cells, "_unpacked", cells._Kept(1))
    with pytest.raises(OSError, match="No space left"):
        read_reference(Reference(uri=parquet, member="column:flat", offset=9))


def test_rewritten_file_is_read_anew(parquet: str) -> None:
    reference = Reference(uri=parquet, member="column:flat", offset=3)
    assert read_reference(reference) == CELLS[3]
    pq.write_table(pa.table({"flat": pa.array([b"new"] * 9, pa.binary())}), parquet)
    assert read_reference(reference) == b"new"


@pytest.mark.parametrize(
    ("member", "row", "size", "message"),
    [
        ("column:flat", 20, 0, "the file has 20 rows"),
        ("column:flat", -1, 0, "the file has 20 rows"),
        ("column:flat", 4, 99, "5 of 99 bytes"),
        ("column:missing", 4, 0, "columns are flat, image"),
        ("column:image.missing", 4, 0, "no such value"),
        ("column:pages.7.bytes", 4, 0, "no such value"),
        ("column:text", 4, 0, "found str, wanted bytes"),
        ("column:text", 19, 0, "holds no bytes: embed"),
        ("column:image", 4, 0, "found dict, wanted bytes"),
    ],
)
def test_cell_that_is_not_there_is_named(parquet: str, member: str, row: int, size: int, message: str) -> None:
    with pytest.raises(SampleError, match=message) as caught:
        read_reference(Reference(uri=parquet, member=member, offset=row, size=size))
    assert parquet in str(caught.value)


def test_broken_parquet_is_an_error_of_the_sample(tmp_path: Path) -> None:
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"PAR1" + os.urandom(200) + b"PAR1")
    with pytest.raises(SampleError, match=r"broken\.parquet"):
        read_reference(Reference(uri=str(path), member="column:flat"))


@given(data=st.binary(max_size=200), offset=st.integers(0, 220), size=st.integers(1, 220))
def test_range_equals_slice_or_is_short(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, offset: int, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "range.tar"
    path.write_bytes(data)
    reference = Reference(uri=str(path), member="a.jpg", offset=offset, size=size)
    for read_it in (read_reference, read_long):
        if offset + size <= len(data):
            assert read_it(reference) == data[offset : offset + size]
        else:
            with pytest.raises(SampleError, match="bytes are there"):
                read_it(reference)


def read_long(reference: Reference) -> bytes:
    """As a file, in pieces and out of order, as a long clip is read."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setattr(read, "LONG_BYTES", 7)
        file = stack.enter_context(open_reference(reference))
        end = file.seek(0, os.SEEK_END)
        file.seek(end // 2)
        second = file.read()
        file.seek(0)
        return file.read(end // 2) + second


def test_a_long_range_of_a_file_is_the_same_at_once_and_in_pieces(tmp_path: Path) -> None:
    data = os.urandom(3_000)
    (tmp_path / "long.tar").write_bytes(data)
    reference = Reference(uri=str(tmp_path / "long.tar"), member="a.mp4", offset=11, size=2_500)
    assert read_long(reference) == data[11:2_511]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "LONG_BYTES", 7)
        with open_reference(reference) as file:
            assert file.read() == data[11:2_511]


def test_a_long_object_of_a_store_is_the_same_as_a_file() -> None:
    data = bytes(range(100))
    fsspec.filesystem("memory").pipe_file("/long/clips.tar", data)
    reference = Reference(uri="memory://long/clips.tar", member="a.mp4", offset=11, size=80)
    assert read_long(reference) == read_reference(reference) == data[11:91]
    with pytest.raises(SampleError, match="of 95 bytes are there"):
        read_long(replace(reference, size=95))


def test_whole_file_needs_no_size_but_an_empty_member_stays_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"content")
    assert read_reference(Reference(uri=str(path))) == b"content"
    assert read_reference(Reference(uri=f"file://{path}")) == b"content"
    assert read_reference(Reference(uri=str(path), member="empty.jpg")) == b""


def test_failures_say_what_they_are_and_whether_to_retry(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    cases = [
        ("missing.jpg", "no such file", False),
        (".", "not a regular file", False),
        ("pipe", "not a regular", False),
    ]
    for name, message, retryable in cases:
        with pytest.raises(SampleError, match=message) as caught:
            read_reference(Reference(uri=str(tmp_path / name)))
        assert caught.value.retryable is retryable
    (tmp_path / "file").touch()
    with pytest.raises(SampleError, match="Not a directory") as caught:
        read_reference(Reference(uri=str(tmp_path / "file" / "below")))
    assert caught.value.retryable


@pytest.mark.parametrize(
    "reference", [Reference(uri="a\0b"), Reference(uri="/dev/zero"), Reference(uri="x", size=1 << 40)]
)
def test_hostile_references_are_refused(reference: Reference) -> None:
    with pytest.raises(SampleError):
        read_reference(reference)
