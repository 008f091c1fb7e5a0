"""Survivors: who stands for whom when pairs of samples are known to be duplicates.

Samples are taken best first. One with no pair among the survivors so far survives; any other is dropped for its best
survivor. So every dropped sample is itself a verified duplicate of the one it names (no chains a-b-c that drop c for a),
and the outcome does not depend on the order of rows or pairs.
"""

import numpy as np
import polars as pl

from curation.operator import OperatorError

DROPPED_SCHEMA = {"id": pl.String, "duplicate_of": pl.String, "similarity": pl.Float64}


def rank_samples(table: pl.DataFrame, best: str | None, *ties: str, who: str) -> np.ndarray:
    """Rank of each row, 0 = survives first: highest `best`, then highest of `ties`, then smallest id. NaN and null last.

    Raises:
        OperatorError: the table has no score of that name.
    """
    check_score(table, best, who)
    scores = [column for column in (best, *ties) if column is not None]
    worst = float("-inf")
    values = [pl.col(name).cast(pl.Float64).fill_nan(worst).fill_null(worst).alias(f"by {name}") for name in scores]
    keyed = table.select("id", *values).with_row_index("row")
    order = keyed.sort([*(f"by {n}" for n in scores), "id", "row"], descending=[True] * len(scores) + [False, False])
    ranks = np.empty(len(table), np.int64)
    ranks[order["row"].to_numpy()] = np.arange(len(table))
    return ranks


def check_score(table: pl.DataFrame, best: str | None, who: str) -> None:
    """Raise OperatorError where there is no score named `best`."""
    if best is not None and best not in table.columns:
        raise OperatorError(f"{who}: no score {best!r}, only {', '.join(table.columns)}: put its filter first")


def choose_survivors(ranks: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """For each row the row that stands for it, or -1 where it survives.

    Args:
        ranks: int64 [N], distinct, 0 = best. left, right: rows of verified pairs, in any order.
    """
    first = np.minimum(ranks[left], ranks[right])
    later = np.maximum(ranks[left], ranks[right])
    order = np.lexsort((first, later))
    row_of = np.empty(len(ranks), np.int64)
    row_of[ranks] = np.arange(len(ranks))
    stands = np.full(len(ranks), -1, np.int64)
    dropped: set[int] = set()
    for better, worse in zip(first[order].tolist(), later[order].tolist(), strict=True):
        if worse not in dropped and better not in dropped and better != worse:
            dropped.add(worse)
            stands[row_of[worse]] = row_of[better]
    return stands


def dropped_table(ids: pl.Series, stands: np.ndarray, similarity: np.ndarray) -> pl.DataFrame:
    """What a Select returns of every row for which another one stands, sorted by id.

    Args:
        stands: int64 [N], the row that stands for each, -1 (or its own) where it survives. similarity: float [N], only read where
            another one stands.
    """
    dropped = np.flatnonzero((stands >= 0) & (stands != np.arange(len(stands))))
    columns = {
        "id": ids.gather(dropped),
        "duplicate_of": ids.gather(stands[dropped]),
        "similarity": similarity[dropped],
    }
    return pl.DataFrame(columns, schema=DROPPED_SCHEMA).sort("id")
