"""ParquetSource: images, videos or texts from the rows of Parquet files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from curation.media.cells import batch_rows, column_bytes, open_parquet
from curation.operator import Part, PartLimits, RecipeError
from curation.sample import (
    BadSample,
    Kind,
    Media,
    Reference,
    Sample,
    SampleError,
    caption_turns,
    document_turns,
    make_sample,
)
from curation.sources.files import FileSource, InputFile, bad_sample


@dataclass(frozen=True, kw_only=True)
class ParquetSource(FileSource):
    """One sample per row: media with a caption, or a text document where `image` is empty.

    image: column of encoded bytes, or of structs {bytes, path} as Hugging Face datasets write them, whose bytes are
    used; a row without bytes is a bad sample. kind: what these bytes are. text: column of the caption or document.
    texts: column of lists of captions; `choice` says which of them stands in when `text` is not set or empty in this
    row ("first"), or whatever `text` says ("longest"; of equals the first). An empty caption stays empty: that is for a
    filter to judge. id, licence, url: columns of origin, "" for none.
    """

    image: str = "image"
    kind: Kind = "image"
    text: str = "text"
    texts: str = ""
    choice: Literal["first", "longest"] = "first"
    id: str = ""
    licence: str = ""
    url: str = ""

    SUFFIXES: ClassVar[tuple[str, ...]] = (".parquet",)

    def parts(self, limits: PartLimits) -> Sequence[Part]:
        """Runs of rows of one file, from the footers alone; a file that is no Parquet is one part, one bad sample.

        Raises:
            RecipeError: a column is missing.
        """
        return [part for file in self.inputs() for part in self._parts(file, limits)]

    def _parts(self, file: InputFile, limits: PartLimits) -> list[Part]:
        try:
            with open_parquet(file.uri) as parquet:
                self._check_columns(parquet.schema_arrow, file)
                return cut_rows(parquet.metadata, self._columns(), limits, uri=file.uri)
        except (pa.ArrowException, OSError):
            return [Part(uri=file.uri, begin=0, end=1, rows=1, bytes=file.size)]

    def read(self, part: Part) -> Iterator[Sample | BadSample]:
        """The samples of a run of rows."""
        try:
            parquet = open_parquet(part.uri)
        except (pa.ArrowException, OSError) as error:
            yield bad_sample(self.origin(part.uri), error, f"not readable as Parquet: {error}")
            return
        with parquet:
            for row, cells in read_rows(parquet, self._columns(), part.begin, part.end):
                yield self._sample(part.uri, row, cells)

    def _columns(self) -> list[str]:
        wanted = (self.image, self.text, self.texts, self.id, self.licence, self.url)
        return [column for column in dict.fromkeys(wanted) if column]

    def _check_columns(self, schema: pa.Schema, file: InputFile) -> None:
        for column in self._columns():
            if column not in schema.names:
                found = ", ".join(schema.names)
                raise RecipeError(
                    f"{self.name}: {file.name} has no column {column!r} but {found}. Name one of them, or ''"
                )
        if self.image and not _is_binary(schema.field(self.image).type):
            found = f"{file.name}: column {self.image!r} is {schema.field(self.image).type}"
            raise RecipeError(f"{self.name}: {found}: wanted encoded bytes, or structs with a field 'bytes'")

    def _sample(self, uri: str, row: int, cells: "dict[str, Any] | SampleError") -> Sample | BadSample:
        origin = self.origin(uri, row)
        try:
            if isinstance(cells, SampleError):
                raise cells
            fields = {
                field: _string(cells, column)
                for field, column in (("name", self.id), ("licence", self.licence), ("url", self.url))
            }
            origin = self.origin(uri, row, **fields)
            text = self._caption(cells)
            if not self.image:
                return make_sample(origin, document_turns(text))
            return make_sample(origin, caption_turns(text, (self.kind,)), (self._medium(uri, row, cells),))
        except SampleError as error:
            return bad_sample(origin, error, f"row {row} of {origin.locator.rpartition('#')[0]}: {error}")

    def _caption(self, cells: Mapping[str, Any]) -> str:
        text = _string(cells, self.text)
        if not self.texts or (text and self.choice == "first"):
            return text
        captions = [_decoded(caption, self.texts) for caption in cells[self.texts] or () if caption]
        if self.choice == "longest":
            return max([text, *captions], key=len)
        return captions[0] if captions else ""

    def _medium(self, uri: str, row: int, cells: Mapping[str, Any]) -> Media:
        value, member = cells[self.image], f"column:{self.image}"
        if isinstance(value, dict):
            value, member = value["bytes"], f"{member}.bytes"
        if not value:
            raise SampleError(f"column {self.image!r} holds no bytes: wanted an encoded {self.kind}. Embed the file")
        return Media(
            kind=self.kind, data=value, reference=Reference(uri=uri, member=member, offset=row, size=len(value))
        )


def cut_rows(metadata: pq.FileMetaData, columns: Sequence[str], limits: PartLimits, *, uri: str) -> list[Part]:
    """Runs of rows within the limits; bytes are those of the columns, uncompressed.

    A row larger than the limit is a part of its own.
    """
    parts: list[Part] = []
    begin = rows = 0
    size = 0.0
    for index in range(metadata.num_row_groups):
        group_rows = metadata.row_group(index).num_rows
        per_row = column_bytes(metadata, index, columns) / max(1, group_rows)
        left = group_rows
        while left:
            room = min(limits.rows - rows, int((limits.bytes - size) // per_row) if per_row else left)
            take = min(left, max(room, 0 if rows else 1))
            rows, size, left = rows + take, size + take * per_row, left - take
            if left:
                parts.append(Part(uri=uri, begin=begin, end=begin + rows, rows=rows, bytes=int(size)))
                begin, rows, size = begin + rows, 0, 0.0
    if rows:
        parts.append(Part(uri=uri, begin=begin, end=begin + rows, rows=rows, bytes=int(size)))
    return parts


def read_rows(
    parquet: pq.ParquetFile, columns: Sequence[str], begin: int, end: int
) -> Iterator[tuple[int, dict[str, Any] | SampleError]]:
    """Rows [begin, end) of a file, each with its number; a row that cannot be read is an error.

    Strings come as bytes.
    """
    first = 0
    for group in range(parquet.metadata.num_row_groups):
        last = first + parquet.metadata.row_group(group).num_rows
        if first < end and last > begin:
            yield from _read_group(parquet, columns, group, range(first, last), range(begin, end))
        first = last


def _read_group(
    parquet: pq.ParquetFile, columns: Sequence[str], group: int, rows: range, wanted: range
) -> Iterator[tuple[int, dict[str, Any] | SampleError]]:
    """The wanted rows of a row group, decoded in batches from its start: what is damaged is so for every part."""
    size, row = batch_rows(parquet.metadata, group, columns), rows.start
    try:
        for batch in parquet.iter_batches(size, row_groups=[group], columns=list(columns), use_threads=False):
            skipped = min(max(wanted.start - row, 0), batch.num_rows)
            part = batch.slice(skipped, max(0, wanted.stop - row - skipped))
            cells = [as_bytes(part.column(column)).to_pylist() for column in columns]
            for number, values in enumerate(zip(*cells, strict=True), row + skipped):
                yield number, dict(zip(columns, values, strict=True))
            row += batch.num_rows
            if row >= wanted.stop:
                return
    except (pa.ArrowException, OSError) as error:
        for lost in range(max(row, wanted.start), min(rows.stop, wanted.stop)):
            failure = SampleError(f"row group {group} is damaged: {error}. Write the file again")
            failure.__cause__ = error
            yield lost, failure


def as_bytes(array: pa.Array) -> pa.Array:
    """Strings, alone or in lists and structs, as bytes: Arrow does not check that they are UTF-8, so we decode each by itself."""
    wanted = _bytes_type(array.type)
    return array if wanted == array.type else array.cast(wanted)


def _bytes_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = _bytes_type(kind.value_type)
        return kind if inner == kind.value_type else pa.large_list(inner)
    if pa.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return pa.struct([field.with_type(_bytes_type(field.type)) for field in fields])
    return kind


def _is_binary(column: pa.DataType) -> bool:
    if pa.types.is_struct(column):
        return column.get_field_index("bytes") >= 0 and _is_binary(column.field("bytes").type)
    return pa.types.is_binary(column) or pa.types.is_large_binary(column)


def _string(cells: Mapping[str, Any], column: str) -> str:
    value = cells[column] if column else None
    return "" if value is None else _decoded(value, column)


def _decoded(value: Any, column: str) -> str:
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise SampleError(
            f"column {column!r} is not UTF-8 at byte {error.start}: decode it with its real encoding"
        ) from error
