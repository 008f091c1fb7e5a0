"""Record files: records in JSON (lists, lines, maps, nested), tables, lines of text, and one file each."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, cast

from curation.operator import Part, PartLimits
from curation.sample import SampleError
from curation.sources.files import InputFile
from curation.sources.lines import (
    Line,
    cut_lines,
    cut_list,
    is_list,
    list_elements,
    nested_list,
    parse_object,
    read_lines,
)
from curation.sources.records import Record, Records
from curation.sources.streams import open_stream
from curation.uris import open_uri, stat_uri

# A map of records is read whole; the largest published ones (TextOCR, ActivityNet) stay below 300 MB.
MAX_DOCUMENT_BYTES = 1 << 30
# Longest file that is one record.
MAX_FILE_BYTES = 16 << 20
_MAX_CELL = 4 << 20


@dataclass(frozen=True, kw_only=True)
class JsonRecords(Records):
    """Records in JSON: objects per line (.jsonl), or of a list (.json).

    at: "" = the list is the file; "data" = it stands under that key, streamed; "*" or "database.*" = a map whose values
    are the records, read whole: they get their key as the field "key", and a value that is no object becomes the field
    "value".
    """

    at: str = ""

    SUFFIXES: ClassVar[tuple[str, ...]] = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".jsonl.zst")

    def parts(self, file: InputFile, limits: PartLimits) -> Sequence[Part]:
        """Ranges of bytes; of a map, of its entries in order."""
        if self.at.endswith("*"):
            return cut_numbered(file, _count(_entries, file.uri, self.at), limits)
        if not is_list(file.uri):
            return cut_lines(file, limits)
        return cut_list(file, limits, begin=nested_list(file.uri, self.at) if self.at else 0)

    def read(self, part: Part) -> Iterator[tuple[int | str, Record | SampleError]]:
        """The records that start in the part."""
        if self.at.endswith("*"):
            for number, entry in enumerate(_entries(part.uri, self.at, file_version(part.uri))[part.begin : part.end]):
                yield part.begin + number, entry
            return
        lines = list_elements(part.uri, part.begin, part.end) if is_list(part.uri) else read_lines(part)
        for line in lines:
            yield line.offset, _parsed(line)


@dataclass(frozen=True, kw_only=True)
class NextRecords(Records):
    """Records that also know the record after them, as the field "next": what compares two pictures needs both.

    Of the last record of a file, "next" is missing.
    """

    inner: JsonRecords

    SUFFIXES: ClassVar[tuple[str, ...]] = JsonRecords.SUFFIXES

    def parts(self, file: InputFile, limits: PartLimits) -> Sequence[Part]:
        """As the inner records are cut."""
        return self.inner.parts(file, limits)

    def read(self, part: Part) -> Iterator[tuple[int | str, Record | SampleError]]:
        """The records of the part; the last one's follower is read from behind it."""
        size, _ = stat_uri(part.uri)
        behind = replace(part, begin=part.end, end=max(size, part.end + 1))
        follower = next(self.inner.read(behind), None) if part.end < size else None
        before: tuple[int | str, Record | SampleError] | None = None
        for place, record in chain(self.inner.read(part), [follower] if follower else []):
            if before:
                yield before[0], _with_next(before[1], record)
            before = (place, record)
        if before and not follower:
            yield before


def _with_next(record: Record | SampleError, after: Record | SampleError) -> Record | SampleError:
    if isinstance(record, SampleError) or isinstance(after, SampleError):
        return record
    return {**record, "next": after}


@dataclass(frozen=True, kw_only=True)
class TableRecords(Records):
    """Rows of a table with a header (.csv; .tsv is cut by tabs). header: its names, where the file has none."""

    header: tuple[str, ...] = ()

    SUFFIXES: ClassVar[tuple[str, ...]] = (".csv", ".tsv")

    def parts(self, file: InputFile, limits: PartLimits) -> Sequence[Part]:
        """Runs of rows."""
        return cut_numbered(file, sum(1 for _ in self._rows(file.uri)), limits)

    def read(self, part: Part) -> Iterator[tuple[int | str, Record | SampleError]]:
        """The rows of the part."""
        for number, row in enumerate(self._rows(part.uri)):
            if part.begin <= number < part.end:
                yield number, row

    def _rows(self, uri: str) -> Iterator[Record | SampleError]:
        # Undecodable bytes become lone surrogates, which make_sample refuses sample by sample.
        with io.TextIOWrapper(open_uri(uri), "utf-8-sig", "surrogateescape", newline="") as file:
            csv.field_size_limit(_MAX_CELL)
            rows = csv.reader(file, delimiter="\t" if uri.lower().endswith(".tsv") else ",")
            try:
                names = self.header or tuple(next(rows, ()))
                for row in rows:
                    if len(row) == len(names):
                        yield dict(zip(names, row, strict=True))
                    elif row:
                        yield SampleError(f"{len(row)} cells, the header has {len(names)}: repair the row's quotes")
            except csv.Error as error:
                yield SampleError(f"the table is damaged from line {rows.line_num}: {error}")


@dataclass(frozen=True, kw_only=True)
class LineRecords(Records):
    """Lines of a text file, as the field "line"."""

    SUFFIXES: ClassVar[tuple[str, ...]] = (".txt",)

    def parts(self, file: InputFile, limits: PartLimits) -> Sequence[Part]:
        """Ranges of bytes."""
        return cut_lines(file, limits)

    def read(self, part: Part) -> Iterator[tuple[int | str, Record | SampleError]]:
        """The lines that start in the part."""
        for line in read_lines(part):
            if line.fault:
                yield line.offset, SampleError(line.fault)
                continue
            try:
                yield line.offset, {"line": line.data.decode()}
            except UnicodeDecodeError as error:
                yield line.offset, SampleError(f"not UTF-8 at byte {error.start}: decode it with its real encoding")


@dataclass(frozen=True, kw_only=True)
class FileRecords(Records):
    """Every file is a record: "stem" its name without suffix, and the fields of its JSON object, or "text".

    suffix: of these files, which the source's path must name alone.
    beside: a file that belongs to each, as path relative to it with "{stem}"
    ("../Annotations/{stem}.xml"); its text is the field "beside".
    """

    suffix: str = ".json"
    beside: str = ""

    SUFFIXES: ClassVar[tuple[str, ...]] = (".json", ".txt")
    SINGLE: ClassVar[bool] = True

    def companions(self, file: InputFile) -> Sequence[str]:
        """The file beside it."""
        place = self._beside(file.uri)
        return (place,) if place and _exists(place) else ()

    def parts(self, file: InputFile, limits: PartLimits) -> Sequence[Part]:
        """One file, one record."""
        del limits
        return [Part(uri=file.uri, begin=0, end=1, rows=1, bytes=file.size)]

    def read(self, part: Part) -> Iterator[tuple[int | str, Record | SampleError]]:
        """The file."""
        try:
            fields: dict[str, Any] = {"stem": Path(part.uri).stem}
            data = _small(part.uri)
            fields |= parse_object(data) if self.suffix == ".json" else {"text": _decoded(data)}
            if place := self._beside(part.uri):
                if not _exists(place):
                    raise SampleError(f"{Path(place).name} is missing beside it")
                fields["beside"] = _decoded(_small(place))
            yield 0, fields
        except SampleError as error:
            yield 0, error

    def _beside(self, uri: str) -> str:
        folder, _, name = uri.rpartition("/")
        below = self.beside
        while folder and below.startswith("../"):
            folder, below = folder.rpartition("/")[0], below.removeprefix("../")
        return f"{folder}/{below.format(stem=Path(name).stem)}" if self.beside else ""


def _exists(uri: str) -> bool:
    try:
        stat_uri(uri)
    except OSError:
        return False
    return True


def _small(uri: str) -> bytes:
    size, _ = stat_uri(uri)
    if size > MAX_FILE_BYTES:
        raise SampleError(f"{Path(uri).name} has {size:,} bytes, limit {MAX_FILE_BYTES:,}")
    with open_uri(uri) as file:
        return file.read()


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SampleError(f"not UTF-8 at byte {error.start}: decode it with its real encoding") from error


def _parsed(line: Line) -> Record | SampleError:
    if line.fault:
        return SampleError(line.fault)
    try:
        return parse_object(line.data)
    except SampleError as error:
        return error


def file_version(uri: str) -> tuple[int, str]:
    """Size and time of a file: under which what was read from it is kept."""
    return stat_uri(uri)


def _count(read: Any, uri: str, at: str) -> int:
    try:
        return len(read(uri, at, file_version(uri)))
    except OSError:
        return 1  # reading the part will say so


def cut_numbered(file: InputFile, count: int, limits: PartLimits) -> list[Part]:
    """Runs of `count` entries; their bytes are taken to be equal."""
    each = max(1, file.size // max(1, count))
    step = max(1, min(limits.rows, limits.bytes // each))
    ends = [(begin, min(begin + step, count)) for begin in range(0, count, step)]
    return [Part(uri=file.uri, begin=a, end=b, rows=b - a, bytes=(b - a) * each) for a, b in ends]


@lru_cache(maxsize=1)
def document(uri: str, version: tuple[int, str]) -> Any:
    """A whole JSON file; kept per process while it does not change. A SampleError where it is none."""
    if version[0] > MAX_DOCUMENT_BYTES:
        return SampleError(f"{version[0]:,} bytes of one JSON value, limit {MAX_DOCUMENT_BYTES:,}: write JSON lines")
    try:
        with open_stream(uri) as stream:
            data = stream.read(MAX_DOCUMENT_BYTES + 1)
        if len(data) > MAX_DOCUMENT_BYTES:
            return SampleError(f"unpacks to more than {MAX_DOCUMENT_BYTES:,} bytes: write JSON lines")
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return SampleError(f"no JSON: {error}")


@lru_cache(maxsize=2)
def _entries(uri: str, at: str, version: tuple[int, str]) -> list[Record | SampleError]:
    value = document(uri, version)
    for name in at.split(".")[:-1]:
        value = value.get(name) if isinstance(value, dict) else value
    if isinstance(value, SampleError):
        return [value]
    if not isinstance(value, dict):
        return [SampleError(f"no map of records at {at!r} but {type(value).__name__}")]
    entries = cast("dict[str, Any]", value).items()
    return [
        {**entry, "key": key} if isinstance(entry, dict) else {"key": key, "value": entry} for key, entry in entries
    ]
