"""Index: one row per sample of a shard, so that a trainer plans without opening a tar and reads any member with one ranged read.

Columns (all counts are integers; `offset` is where the member's bytes begin in the tar):
    key                   the sample's name, 32 hex digits; equals the sample id
    branch                the recipe's branch it came through
    members               [{name, offset, size}] in tar order
    media                 [{kind, format, member, width, height, duration, fps, grid_frames, grid_rows, grid_columns, merge, kept}]
                          width, height: pixels upright; grid_*: patches after resizing; merge: side averaged into one token;
                          kept: visual tokens of this medium after pruning
    text_tokens           language tokens without visual tokens
    loss_tokens           of them, supervised ones
    patches               14 x 14 patches that the vision encoder sees
    visual_tokens         visual tokens before pruning
    visual_tokens_kept    after pruning; text_tokens + visual_tokens_kept is the sample's length in the language model
The schema's metadata names the tokenizer and the pixel rules (`rules`) that these were counted with.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.uris import open_uri

MEMBER = pa.struct({"name": pa.string(), "offset": pa.int64(), "size": pa.int64()})
MEDIUM = pa.struct({
    "kind": pa.string(), "format": pa.string(), "member": pa.string(), "width": pa.int32(), "height": pa.int32(),
    "duration": pa.float64(), "fps": pa.float64(), "grid_frames": pa.int32(), "grid_rows": pa.int32(),
    "grid_columns": pa.int32(), "merge": pa.int32(), "kept": pa.int32(),
})  # fmt: skip
INDEX_SCHEMA = pa.schema({
    "key": pa.string(), "branch": pa.string(), "members": pa.list_(MEMBER), "media": pa.list_(MEDIUM),
    "text_tokens": pa.int32(), "loss_tokens": pa.int32(), "patches": pa.int32(), "visual_tokens": pa.int32(),
    "visual_tokens_kept": pa.int32(),
})  # fmt: skip


def index_path(shard: Path) -> Path:
    """`000000.tar` -> `000000.index.parquet`, beside it."""
    return shard.with_name(shard.name.removesuffix(".tar") + ".index.parquet")


def write_index(path: Path, rows: list[dict[str, Any]], counted_with: dict[str, Any]) -> None:
    """Write one shard's rows; the bytes depend on the rows only (no times, no writer-dependent order)."""
    metadata = {"vl3.counted_with": json.dumps(counted_with, sort_keys=True)}
    table = pa.Table.from_pylist(rows, schema=INDEX_SCHEMA.with_metadata(metadata))
    pq.write_table(table, path, compression="zstd")


def read_index(path: Path) -> pa.Table:
    """One shard's index; `counted_with(table)` tells by which tokenizer and pixel rules it was counted."""
    with open_uri(str(path)) as file:
        return pq.read_table(file)


def counted_with(table: pa.Table) -> dict[str, Any]:
    """Tokenizer and pixel rules of the counts in an index ({} when the writer said nothing)."""
    metadata = table.schema.metadata or {}
    return json.loads(metadata.get(b"vl3.counted_with", b"{}"))
