"""Embedding columns: vectors of samples as cells of a table, float16, and the clusters of a table's vectors."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from curation.operator import OperatorError
from curation.select.kmeans import Clusters, fit_clusters
from curation.select.priority import priorities

if TYPE_CHECKING:
    from curation.batch import Batch

EMBEDDING_SCHEMA = {"embedding": pl.Binary}
CLUSTER_SCHEMA = {"vector": pl.Binary, "is_group": pl.Boolean, "group": pl.Int32}
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


def learn_clusters(
    parts: "Callable[[], Iterable[pl.DataFrame]]", clusters: "Callable[[int], int]", seed: int, who: str
) -> pl.DataFrame:
    """Clusters as a table, learned part by part from the sample that `clusters_of` takes of all parts at once.

    Args:
        parts: gives the tables, as often as it is called. clusters: how many for so many vectors.
    """
    count = sum(len(table) - table["embedding"].null_count() for table in parts())
    if not count:
        return pl.DataFrame(schema=CLUSTER_SCHEMA)
    wanted = min(count, SAMPLE_PER_CLUSTER * clusters(count))
    priority, sample = np.empty(0), None
    for table in parts():
        rows, vectors = vectors_of(table, who)
        if not len(rows):
            continue
        sample = vectors if sample is None else np.concatenate([sample, vectors])
        priority = np.concatenate([priority, priorities(rows["id"], seed)])
        if len(priority) > wanted:
            best = np.argpartition(priority, wanted - 1)[:wanted]
            priority, sample = priority[best], sample[best]
    assert sample is not None
    return clusters_to_table(fit_clusters(sample[np.argsort(priority)], clusters(count)))


def clusters_to_table(clusters: Clusters) -> pl.DataFrame:
    """Centroids, then groups where there are two levels."""
    groups = np.empty((0, 1), np.float32) if clusters.groups is None else clusters.groups
    own = [None] * len(clusters) if clusters.group_of is None else clusters.group_of.tolist()
    cells = [row.astype("<f4").tobytes() for row in (*clusters.centroids, *groups)]
    kinds = [False] * len(clusters) + [True] * len(groups)
    return pl.DataFrame(
        {"vector": cells, "is_group": kinds, "group": own + [None] * len(groups)}, schema=CLUSTER_SCHEMA
    )


def clusters_from_table(table: pl.DataFrame) -> Clusters | None:
    """Inverse of `clusters_to_table`; None where there are none."""
    vectors = [np.frombuffer(cell, "<f4") for cell in table["vector"]]
    if not vectors:
        return None
    groups = table["is_group"].to_numpy()
    centroids = np.stack(vectors)[~groups]
    if not groups.any():
        return Clusters(centroids=centroids)
    group_of = table.filter(~pl.col("is_group"))["group"].to_numpy().astype(np.int32)
    return Clusters(centroids=centroids, groups=np.stack(vectors)[groups], group_of=group_of)


def clusters_of(ids: pl.Series, vectors: np.ndarray, clusters: int, seed: int) -> Clusters:
    """Clusters learned from a sample that depends on ids and seed alone."""
    priority = priorities(ids, seed)
    wanted = min(len(ids), SAMPLE_PER_CLUSTER * clusters)
    sample = np.argpartition(priority, wanted - 1)[:wanted]
    return fit_clusters(vectors[sample[np.argsort(priority[sample])]], clusters)
