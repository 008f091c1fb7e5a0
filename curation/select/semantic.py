"""Semantic dedup: samples whose embeddings point the same way are one group, and one of them survives."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from curation.batch import Batch
from curation.operator import RecipeError
from curation.select import semantic_tasks
from curation.select.base import BasedSelect, of_base
from curation.select.embedding_columns import (
    EMBEDDING_SCHEMA,
    Embed,
    clusters_of,
    embedding_column,
    learn_clusters,
    vectors_of,
)
from curation.select.neighbours import nearest_before
from curation.select.survivors import dropped_table, rank_samples
from curation.select.tasks import Tables, TaskedSelect, TaskKind

# Cosines are compared at this many digits: the last bits depend on the processor.
_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class SemanticDedup(TaskedSelect, BasedSelect):
    """Drops samples whose embedding has a cosine of at least `cosine` with that of a better sample.

    For every sample the most similar better one is found once (`semantic_similarity`, in [-1, 1], and `semantic_parent`,
    its id) and stored, so that the cut is a bound: another cut compares nothing again. Better means: higher `best`,
    then smaller id; all of a `base` is better, and never dropped. A dropped sample names the first survivor on the way from parent
    to parent.

    embed: what gives the vectors. cosine: its scale belongs to the encoder. clusters: None = by the number of samples.
    visited: a sample is compared within so many of the nearest clusters at most; more find more, and cost more. floor:
    the lowest cut that will be wanted: similarities below it may be stored too low.

    Source: SemDeDup, arXiv:2303.09540 (clusters, the highest similarity within them, a cut); there a sample is compared
    within its own cluster only, and survivors are the farthest from the centroid.
    """

    embed: Embed
    cosine: float = 0.95
    clusters: int | None = None
    visited: int = 4
    floor: float = 0.9
    seed: int = 0

    TASKS: ClassVar[tuple[TaskKind, ...]] = ("learn", "keys", "pairs")
    COLUMNS = EMBEDDING_SCHEMA
    SCORES: ClassVar[tuple[str, ...]] = ("semantic_similarity",)

    def __post_init__(self) -> None:
        if not -1 <= self.floor <= self.cosine <= 1:
            raise RecipeError(f"{self.name}: cosine {self.cosine:g}, floor {self.floor:g}: wanted floor <= cosine <= 1")

    def signature(self, batch: Batch) -> pl.DataFrame:
        """The embedding, as bytes of float16; null where there is none."""
        return pl.DataFrame([embedding_column(self.embed, batch)])

    def signature_settings(self) -> dict[str, Any]:
        """The encoder alone: nothing else is looked at before all samples are there."""
        return {key: value for key, value in self.settings().items() if key in ("operator", "version", "embed")}

    def relation_settings(self) -> dict[str, Any]:
        """All but the cut."""
        return {key: value for key, value in self.settings().items() if key != "cosine"}

    def relate(self, table: pl.DataFrame) -> pl.DataFrame:
        """`id`, `semantic_similarity`, `semantic_parent` of every sample; null where there is no vector or no better sample.

        Raises:
            OperatorError: the table has no score named `best`, or vectors of several encoders.
        """
        rows, vectors = vectors_of(self.with_base(table), self.name)
        fixed = of_base(rows["score"]).to_numpy()
        similarity, parent = np.empty(0), np.empty(0, np.int64)
        if len(rows):
            ranks = rank_samples(rows, "score", who=self.name)
            clusters = clusters_of(rows["id"], vectors, self.clusters or default_clusters(len(rows)), self.seed)
            similarity, parent = nearest_before(
                vectors, ranks, clusters, visited=self.visited, floor=self.floor, fixed=fixed
            )
        known = parent >= 0
        found = pl.DataFrame({
            "id": rows["id"],
            "semantic_similarity": pl.Series(np.round(similarity.astype(np.float64), _DIGITS)).set(pl.Series(~known), None),
            "semantic_parent": rows["id"].gather(np.maximum(parent, 0)).set(pl.Series(~known), None),
        }).filter(pl.Series(~fixed, dtype=pl.Boolean))  # fmt: skip
        return table.select("id").join(found, on="id", how="left", maintain_order="left")

    def choose(self, table: pl.DataFrame) -> pl.DataFrame:
        """All samples above the cut, sorted by id, with the survivor each stands behind, and the cosine with its own parent.

        Raises:
            OperatorError: as `relate`, which is asked where the table does not hold its columns.
        """
        if "semantic_parent" not in table.columns:
            table = table.select("id").join(self.relate(table), on="id", how="left", maintain_order="left")
        rows = table.sort("id")
        dropped = rows.with_row_index("row").filter(pl.col("semantic_similarity") >= self.cosine)
        # Of a base are those that are no rows of the table, and a sample's own twin.
        known = pl.col("semantic_parent").is_in(rows["id"].implode()) & (pl.col("semantic_parent") != pl.col("id"))
        outside = dropped.filter(~known)["semantic_parent"].unique().sort()
        row_of = {sample: row for row, sample in enumerate(rows["id"].to_list())}
        place_of = {sample: len(rows) + place for place, sample in enumerate(outside.to_list())}
        stands = np.full(len(rows) + len(outside), -1, np.int64)
        for row, sample, parent in dropped.select("row", "id", "semantic_parent").iter_rows():
            stands[row] = place_of[parent] if parent == sample or parent not in row_of else row_of[parent]
        return dropped_table(
            pl.concat([rows["id"], outside]), _to_survivors(stands), rows["semantic_similarity"].to_numpy()
        )

    def learn(self, parts: Callable[[], Iterable[pl.DataFrame]]) -> pl.DataFrame:
        """The clusters."""
        return learn_clusters(parts, lambda count: self.clusters or default_clusters(count), self.seed, self.name)

    def gather(
        self, table: pl.DataFrame, learned: pl.DataFrame, *, base: bool = False
    ) -> tuple[dict[str, pl.DataFrame], int]:
        """See `semantic_tasks.gather`."""
        return semantic_tasks.gather(self, self.scored(table, base=base), learned)

    def num_ranges(self, kind: TaskKind, amount: int, most: int) -> int:  # noqa: ARG002  there is but one
        """Ranges of clusters; a key carries a vector of some 1 kB."""
        return max(1, -(-16 * amount // most))

    def pairs(self, tables: Tables, number: int, of: int) -> pl.DataFrame:
        """See `semantic_tasks.pair_range`."""
        return semantic_tasks.pair_range(self, tables, number, of)

    def related(self, tables: Tables) -> Iterator[pl.DataFrame]:
        """See `semantic_tasks.related`."""
        return semantic_tasks.related(tables, _DIGITS)

    def decide(self, tables: Tables) -> pl.DataFrame:
        """See `semantic_tasks.decide`."""
        return semantic_tasks.decide(self, tables)


def _to_survivors(stands: np.ndarray) -> np.ndarray:
    """Parents replaced by the survivors they end at; parents are ranked before their children, so every way ends."""
    stands = stands.copy()
    while True:
        next_ = np.where(stands >= 0, stands[np.maximum(stands, 0)], -1)
        going = next_ >= 0
        if not going.any():
            return stands
        stands[going] = next_[going]


def default_clusters(rows: int) -> int:
    """The square root: assigning to clusters then costs about as much as comparing within them."""
    return max(1, math.isqrt(rows))
