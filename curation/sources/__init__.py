"""Sources: corpora as samples, in parts. See `curation.operator.Source` for what every source keeps to."""

from curation.sources.clips import Clips
from curation.sources.conversations import ConversationSource
from curation.sources.jsonl import JsonlSource
from curation.sources.parquet import ParquetSource
from curation.sources.resolvers import FolderMedia, ParquetMedia, Resolver, TarMedia
from curation.sources.webdataset import WebDatasetSource

__all__ = [
    "Clips",
    "ConversationSource",
    "FolderMedia",
    "JsonlSource",
    "ParquetMedia",
    "ParquetSource",
    "Resolver",
    "TarMedia",
    "WebDatasetSource",
]
