"""Shards: the only thing that passes between curation and the trainer.

    OUT/manifest.json                 what the dataset is; written last: no manifest, no dataset
    OUT/shards/000000.tar             samples, readable by any WebDataset reader
    OUT/shards/000000.index.parquet   one row per sample: where its members lie and what it costs to train on

stdlib, numpy and pyarrow only.
"""

from curation.shards.index import INDEX_SCHEMA, counted_with, index_path, read_index, write_index
from curation.shards.manifest import SCHEMA_VERSION, Manifest, ShardEntry, read_manifest, write_manifest
from curation.shards.reader import ShardReader, StoredSample, open_dataset, read_members
from curation.shards.writer import Member, ShardWriter

__all__ = [
    "INDEX_SCHEMA",
    "SCHEMA_VERSION",
    "Manifest",
    "Member",
    "ShardEntry",
    "ShardReader",
    "ShardWriter",
    "StoredSample",
    "counted_with",
    "index_path",
    "open_dataset",
    "read_index",
    "read_manifest",
    "read_members",
    "write_index",
    "write_manifest",
]
