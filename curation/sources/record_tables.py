"""Record tables: records in rows of Parquet files and in keys of tars, their media with them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import pyarrow as pa

from curation.media.cells import open_parquet
from curation.operator import Part, PartLimits, RecipeError
from curation.sample import Reference, SampleError
from curation.sources.files import InputFile, read_range
from curation.sources.lines import parse_object
from curation.sources.parquet import cut_rows, read_rows
from curation.sources.records import Encoded, Record, Records
from curation.sources.tar import Group, tar_groups

# Longest metadata member of a tar: a document of 300 pages has 20 MB of words and boxes.
MAX_MEMBER_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class ParquetRecords(Records):
    """Rows of Parquet files. columns: those that are read; none = all.

    Encoded media are columns of bytes, and structs {bytes, path} as Hugging Face datasets write them, alone or in lists
    and structs. Strings that are not UTF-8 fail their row only.
    """

    columns: tuple[str, ...] = ()

    SUFFIXES: ClassVar[tuple[str, ...]] = (".parquet",)

    def parts(self, file: InputFile, limits: PartLimits) -> Sequence[Part]:
        """Runs of rows, from the footer.

        Raises:
            RecipeError: a column is missing.
        """
        try:
            with open_parquet(file.uri) as parquet:
                names = parquet.schema_arrow.names
                if missing := sorted(set(self.columns) - set(names)):
                    raise RecipeError(f"{file.name} has no column {', '.join(missing)} but {', '.join(names)}")
                return cut_rows(parquet.metadata, self.columns or names, limits, uri=file.uri)
        except (pa.ArrowException, OSError):
            return [Part(uri=file.uri, begin=0, end=1, rows=1, bytes=file.size)]

    def read(self, part: Part) -> Iterator[tuple[int | str, Record | SampleError]]:
        """The rows of the part."""
        try:
            parquet = open_parquet(part.uri)
        except pa.ArrowException as error:
            yield part.begin, SampleError(f"not readable as Parquet: {error}")
            return
        with parquet:
            schema = parquet.schema_arrow
            columns = self.columns or tuple(schema.names)
            decoders = {name: decoder(schema.field(name).type) for name in columns}
            for row, cells in read_rows(parquet, columns, part.begin, part.end):
                yield row, cells if isinstance(cells, SampleError) else _decoded(part.uri, row, cells, decoders)


Decoder = Callable[[Any, str], Any]


def decoder(kind: pa.DataType) -> Decoder:
    """The function that makes a Python value of a cell of this type: (cell, dotted place) -> value.

    It expects strings as bytes and gives `Encoded` without a file for media.
    """
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return lambda cell, place: (
            None if cell is None else Encoded(reference=Reference(uri="", member=place), data=cell)
        )
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _text
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = decoder(kind.value_type)
        return lambda cell, place: (
            None if cell is None else [inner(value, f"{place}.{i}") for i, value in enumerate(cell)]
        )
    if pa.types.is_struct(kind):
        fields = {kind.field(i).name: decoder(kind.field(i).type) for i in range(kind.num_fields)}
        picture = set(fields) <= {"bytes", "path"} and "bytes" in fields
        return lambda cell, place: _struct(cell, place, fields, picture=picture)
    return lambda cell, _: cell


def _struct(cell: Any, place: str, fields: Mapping[str, Decoder], *, picture: bool) -> Any:
    if cell is None:
        return None
    values = {name: decode(cell[name], f"{place}.{name}") for name, decode in fields.items()}
    if not picture:
        return values
    # Bytes where they are embedded, else the name of a file.
    return values["bytes"] if values["bytes"] is not None else values.get("path")


def _text(cell: Any, place: str) -> str | None:
    if not isinstance(cell, bytes):
        return cell
    try:
        return cell.decode()
    except UnicodeDecodeError as error:
        raise SampleError(
            f"column {place!r} is not UTF-8 at byte {error.start}: decode it with its real encoding"
        ) from error


def _decoded(uri: str, row: int, cells: Mapping[str, Any], decoders: Mapping[str, Decoder]) -> Record | SampleError:
    try:
        record = {name: decode(cells[name], name) for name, decode in decoders.items()}
    except SampleError as error:
        return error
    return {name: _placed(value, uri, row) for name, value in record.items()}


def _placed(value: Any, uri: str, row: int) -> Any:
    """The value with the file and row of its media filled in."""
    if isinstance(value, Encoded) and value.data is not None:
        member = f"column:{value.reference.member}"
        return Encoded(reference=Reference(uri=uri, member=member, offset=row, size=len(value.data)), data=value.data)
    if isinstance(value, list):
        return [_placed(item, uri, row) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: _placed(item, uri, row) for name, item in cast("dict[str, Any]", value).items()}
    return value


@dataclass(frozen=True, kw_only=True)
class TarRecords(Records):
    """Keys of WebDataset tars: "key", a field per member under its suffix, and the fields of the member "json".

    Members "json" are parsed, "txt" and "ocr" are texts; all others are encoded media, read in place.
    """

    SUFFIXES: ClassVar[tuple[str, ...]] = (".tar",)

    def parts(self, file: InputFile, limits: PartLimits) -> Sequence[Part]:
        """Runs of keys, from the headers."""
        try:
            groups = tar_groups(file.uri)
        except OSError:
            return [Part(uri=file.uri, begin=0, end=1, rows=1, bytes=file.size)]
        parts: list[Part] = []
        begin = size = 0
        for index, group in enumerate(groups):
            weight = sum(member.size for _, member in group.members)
            if index > begin and (index - begin >= limits.rows or size + weight > limits.bytes):
                parts.append(Part(uri=file.uri, begin=begin, end=index, rows=index - begin, bytes=size))
                begin, size = index, 0
            size += weight
        return [*parts, Part(uri=file.uri, begin=begin, end=len(groups), rows=len(groups) - begin, bytes=size)]

    def read(self, part: Part) -> Iterator[tuple[int | str, Record | SampleError]]:
        """The keys of the part."""
        for group in tar_groups(part.uri)[part.begin : part.end]:
            try:
                yield group.offset, _group_record(part.uri, group)
            except SampleError as error:
                yield group.offset, SampleError(f"key {group.key[:200]!r}: {error}")


def _group_record(uri: str, group: Group) -> Record:
    if group.fault:
        raise SampleError(group.fault)
    record: dict[str, Any] = {"key": Path(group.key).name}
    for suffix, member in group.members:
        reference = Reference(uri=uri, member=member.name, offset=member.offset, size=member.size)
        if suffix not in ("json", "txt", "ocr"):
            record[suffix] = Encoded(reference=reference)
            continue
        if member.size > MAX_MEMBER_BYTES:
            raise SampleError(f"member {member.name!r} has {member.size:,} bytes, limit {MAX_MEMBER_BYTES:,}")
        data = read_range(reference)
        if suffix == "json":
            record |= parse_object(data)
        else:
            record[suffix] = _text(data, member.name)
    return record
