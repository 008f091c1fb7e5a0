"""Semantic tasks: what SemanticDedup does, over tables of runs and ranges of clusters."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from curation.select.base import of_base
from curation.select.embedding_columns import clusters_from_table, vectors_of
from curation.select.neighbours import compare, visited_clusters
from curation.select.tasks import RUN_BITS, Tables, with_places

if TYPE_CHECKING:
    from curation.select.semantic import SemanticDedup

KEYS = {
    "cluster": pl.UInt32, "own": pl.Boolean, "node": pl.UInt32, "id": pl.String, "score": pl.Float64, "embedding": pl.Binary,
}  # fmt: skip
# A sample, the most similar better one in a range of clusters, and what ranks that.
NEAREST = {"node": pl.Int64, "similarity": pl.Float32, "parent": pl.String, "score": pl.Float64}


def gather(select: "SemanticDedup", table: pl.DataFrame, learned: pl.DataFrame) -> tuple[dict[str, pl.DataFrame], int]:
    """Tables of a run whose samples have a `score`: `nodes`, and `keys` with a row for each cluster that a vector is compared in, sorted
    by it.
    """
    table = table.with_row_index("node")
    nodes = table.select("id", "part", "row")
    rows, vectors = vectors_of(table, select.name)
    clusters = clusters_from_table(learned)
    if clusters is None or not len(rows):
        return {"nodes": nodes, "keys": pl.DataFrame(schema=KEYS)}, 0
    nearest = visited_clusters(vectors, clusters, visited=select.visited, floor=select.floor)
    visits, places = np.nonzero(nearest < len(clusters))
    order = np.lexsort((visits, nearest[visits, places]))  # rows are sorted by id
    visits, places = visits[order], places[order]
    keys = rows[visits].select(
        pl.Series("cluster", nearest[visits, places].astype(np.uint32)), pl.Series("own", places == 0), "node", "id", "score",
        pl.Series("embedding", [vectors[row].tobytes() for row in visits], dtype=pl.Binary),
    )  # fmt: skip
    return {"nodes": nodes, "keys": keys}, len(keys)


def pair_range(select: "SemanticDedup", tables: Tables, number: int, of: int) -> pl.DataFrame:
    """For each sample that visits some of the clusters the most similar better one there, as NEAREST."""
    count = int((~tables.learned()["is_group"]).sum())
    wanted = (pl.col("cluster") >= number * count // of) & (pl.col("cluster") < (number + 1) * count // of)
    runs = []
    for run in range(tables.runs):
        name = (pl.lit(run << RUN_BITS, pl.Int64) + pl.col("node").cast(pl.Int64)).alias("node")
        runs.append(tables.scan("keys", run).filter(wanted).with_columns(name).collect())
    found = [_in_cluster(select, rows) for _, rows in pl.concat(runs).group_by("cluster", maintain_order=True)]
    return _nearest(pl.concat([pl.DataFrame(schema=NEAREST), *found]))


def _in_cluster(select: "SemanticDedup", rows: pl.DataFrame) -> pl.DataFrame:
    rows, vectors = vectors_of(rows, select.name)
    order = rows.with_row_index("place").sort("score", "id", descending=[True, False])["place"].to_numpy()
    ranks = np.empty(len(rows), np.int64)
    ranks[order] = np.arange(len(rows))
    best, parent = np.full(len(rows), -1, np.float32), np.full(len(rows), -1, np.int64)
    fixed = of_base(rows["score"]).to_numpy()
    compare(vectors, np.flatnonzero(rows["own"].to_numpy()), np.arange(len(rows)), ranks, best, parent, fixed)
    known = np.flatnonzero(parent >= 0)
    parents = rows[parent[known]].select(parent="id", score="score")
    return rows[known].select("node").with_columns(similarity=pl.Series(best[known])).hstack(parents).select(*NEAREST)


def _nearest(found: pl.DataFrame) -> pl.DataFrame:
    """The most similar one for each sample; of equals the better."""
    ordered = found.sort("node", "similarity", "score", "parent", descending=[False, True, True, False])
    return ordered.unique("node", keep="first", maintain_order=True)


def related(tables: Tables, digits: int) -> Iterator[pl.DataFrame]:
    """Run by run what `relate` says of its samples, and where they stand; nothing of those of a base."""
    for run in range(tables.runs):
        nodes = tables.table("nodes", run).with_row_index("place").filter(pl.col("part") != "")
        if nodes.is_empty():
            continue
        name = (pl.lit(run << RUN_BITS, pl.Int64) + pl.col("place").cast(pl.Int64)).alias("node")
        mine = pl.col("node").is_between(run << RUN_BITS, (run + 1 << RUN_BITS) - 1)
        found = _nearest(pl.concat([scan.filter(mine).collect() for scan in tables.ranges()]))
        joined = nodes.with_columns(name).join(found, on="node", how="left", maintain_order="left")
        similarity = np.round(joined["similarity"].cast(pl.Float64).to_numpy(), digits)
        yield joined.select(
            "part",
            "row",
            "id",
            pl.Series("semantic_similarity", similarity, nan_to_null=True),
            semantic_parent="parent",
        )


def decide(select: "SemanticDedup", tables: Tables) -> pl.DataFrame:
    """Who is dropped; holds the samples above the cut, and those they stand behind."""
    table = tables.related()
    above = table.filter(pl.col("semantic_similarity") >= select.cosine).collect()
    parents = table.filter(pl.col("id").is_in(above["semantic_parent"].unique().implode())).collect()
    both = pl.concat([above, parents]).unique("id")
    return with_places(select.choose(both.drop("part", "row")), both)
