"""Tables: samples as columns between passes. Everything known about a sample except its encoded bytes.

base      what the source read: one row per sample of a part, in order; `error` is set where reading failed
segment   one row per sample that entered the pass: where it ended, its scores, its rewritten turns, its token counts
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from curation.sample import BadSample, Media, Origin, Reference, Sample, turns_from_json, turns_to_json

MEDIA_STRUCT = pl.Struct({
    "kind": pl.String, "uri": pl.String, "member": pl.String, "offset": pl.Int64, "size": pl.Int64, "digest": pl.String,
    "format": pl.String, "width": pl.Int32, "height": pl.Int32, "duration": pl.Float64, "fps": pl.Float64, "frames": pl.Int32,
})  # fmt: skip
BASE_SCHEMA = pl.Schema({
    "row": pl.Int32, "id": pl.String, "source": pl.String, "locator": pl.String, "name": pl.String, "licence": pl.String, "url": pl.String,
    "turns": pl.String, "media": pl.List(MEDIA_STRUCT), "error": pl.String, "message": pl.String, "retryable": pl.Boolean,
})  # fmt: skip
# Token counts of a sample, and per medium (frames, rows, columns in patches; merge; visual tokens kept).
GRID_STRUCT = pl.Struct(dict.fromkeys(("frames", "rows", "columns", "merge", "kept"), pl.Int32))
COUNT_SCHEMA = {
    "text_tokens": pl.Int32, "loss_tokens": pl.Int32, "patches": pl.Int32, "visual_tokens": pl.Int32,
    "visual_tokens_kept": pl.Int32, "grids": pl.List(GRID_STRUCT),
}  # fmt: skip
SEGMENT_SCHEMA = {
    "row": pl.Int32, "node": pl.String, "reason": pl.String, "quarantined": pl.Boolean, "error": pl.String, "message": pl.String,
    "retryable": pl.Boolean, "turns": pl.String,
}  # fmt: skip


def base_row(row: int, sample: Sample | BadSample) -> dict[str, Any]:
    """One row of a base table."""
    origin = sample.origin
    fields = {"row": row, "id": sample.id, "source": origin.source, "locator": origin.locator, "name": origin.name}
    fields |= {"licence": origin.licence, "url": origin.url}
    if isinstance(sample, BadSample):
        return fields | {"error": sample.error, "message": sample.message, "retryable": sample.retryable}
    return fields | {"turns": turns_to_json(sample.turns), "media": [_media_row(medium) for medium in sample.media]}


def _media_row(medium: Media) -> dict[str, Any]:
    reference = medium.reference or Reference(uri="")
    return {
        "kind": medium.kind, "uri": reference.uri, "member": reference.member, "offset": reference.offset, "size": medium.size,
        "digest": medium.digest, "format": medium.format, "width": medium.width, "height": medium.height,
        "duration": medium.duration, "fps": medium.fps, "frames": medium.frames,
    }  # fmt: skip


def base_table(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A base table from its rows."""
    return columns_of(rows, BASE_SCHEMA)


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample of a base row, without bytes, with the turns it has by now."""
    origin = Origin(**{name: row[name] or "" for name in ("source", "locator", "name", "licence", "url")})
    media = tuple(_medium_of(medium) for medium in row["media"] or ())
    return Sample(id=row["id"], turns=turns_from_json(row["turns"]), media=media, origin=origin)


def _medium_of(medium: Mapping[str, Any]) -> Media:
    reference = Reference(uri=medium["uri"], member=medium["member"], offset=medium["offset"], size=medium["size"])
    facts = {
        name: medium[name]
        for name in ("kind", "size", "digest", "format", "width", "height", "duration", "fps", "frames")
    }
    return Media(reference=reference, **facts)


def columns_of(
    rows: Iterable[Mapping[str, Any]], schema: Mapping[str, pl.DataType | type[pl.DataType]]
) -> pl.DataFrame:
    """Rows as a table of exactly this schema; absent values are null."""
    rows = list(rows)
    return pl.DataFrame([column_of(name, [row.get(name) for row in rows], kind) for name, kind in schema.items()])


def column_of(name: str, values: list[Any], kind: pl.DataType | type[pl.DataType]) -> pl.Series:
    """A column of Python values. Nested ones go through Arrow, which builds them in one piece."""
    if isinstance(kind, pl.List):
        arrow = pl.Series(name, [], dtype=kind).to_arrow().type
        return pl.Series(name, pa.array(values, type=arrow), dtype=kind)
    return pl.Series(name, values, dtype=kind, strict=False)
