"""Embedding columns: vectors of samples as cells of a table, float16, and the clusters of a table's vectors."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from curation.operator import OperatorError
from curation.select.kmeans import Clusters, fit_clusters
from curation.select.priority import priorities

if TYPE_CHECKING:
    from curation.batch import Batch

# Vectors per cluster that k-means learns from.
SAMPLE_PER_CLUSTER = 64


class Embed(Protocol):
    """What gives vectors: a frozen dataclass; `open()` loads weights and returns a function from a batch to float16 [B, D].

    Rows have unit length; NaN where a sample has nothing to embed. A sample that fails is noted in `batch.errors`.
    """

    def open(self) -> "Callable[[Batch], np.ndarray]":
        """Called once per worker and batch; whatever is dear must be kept by the process."""
        ...


def embedding_column(embed: Embed, batch: "Batch") -> pl.Series:
    """The vectors of a batch as bytes, 2 D of them; null where there is none."""
    vectors = np.ascontiguousarray(embed.open()(batch), dtype=np.float16)
    good = np.isfinite(vectors).all(axis=1) & (vectors != 0).any(axis=1)
    cells = [row.tobytes() if fine else None for row, fine in zip(vectors, good, strict=True)]
    return pl.Series("embedding", cells, dtype=pl.Binary)


def vectors_of(table: pl.DataFrame, who: str) -> tuple[pl.DataFrame, np.ndarray]:
    """Rows that have a vector, sorted by id so that nothing depends on how they arrived, and their vectors [N, D].

    Raises:
        OperatorError: vectors of different widths (of different encoders) in one table.
    """
    table = table.filter(pl.col("embedding").is_not_null()).sort("id")
    sizes = table["embedding"].bin.size().unique().to_list()
    if len(sizes) > 1:
        raise OperatorError(
            f"{who}: embeddings of {sorted(size // 2 for size in sizes)} numbers in one table: use one encoder"
        )
    if not sizes:
        return table.drop("embedding"), np.empty((0, 1), np.float16)
    vectors = np.empty((len(table), sizes[0] // 2), np.float16)
    for begin in range(0, len(table), 1 << 16):
        cells = table["embedding"][begin : begin + (1 << 16)].to_list()
        vectors[begin : begin + len(cells)] = np.frombuffer(b"".join(cells), np.float16).reshape(len(cells), -1)
    return table.drop("embedding"), vectors


def clusters_of(ids: pl.Series, vectors: np.ndarray, clusters: int, seed: int) -> Clusters:
    """Clusters learned from a sample that depends on ids and seed alone."""
    priority = priorities(ids, seed)
    wanted = min(len(ids), SAMPLE_PER_CLUSTER * clusters)
    sample = np.argpartition(priority, wanted - 1)[:wanted]
    return fit_clusters(vectors[sample[np.argsort(priority[sample])]], clusters)
