"""Sources: corpora as samples, in parts. See `curation.operator.Source` for what every source keeps to."""

from curation.sources.jsonl import JsonlSource
from curation.sources.parquet import ParquetSource
from curation.sources.webdataset import WebDatasetSource

__all__ = ["JsonlSource", "ParquetSource", "WebDatasetSource"]
