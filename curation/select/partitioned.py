"""Partitioned: Selects that pair samples under keys, so that no worker ever holds them all.

    keys        per part        numbers under which a sample may meet its duplicates, and a sketch to compare it by
    pairs       per key range   samples that met under a key and are alike
    survivors   once            from the pairs alone

`choose` does all of it in memory; the runner does the same in tasks. Both give the same answer, for any number of parts and key ranges.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from curation.select.base import BasedSelect
from curation.select.crowds import crowds_of
from curation.select.survivors import dropped_table


@dataclass(frozen=True, kw_only=True)
class PartitionedSelect(BasedSelect):
    """Groups samples that are alike and keeps one of each group: the best score, then the smallest id.

    best: name of the score whose highest value survives (None: the smallest id alone); missing and NaN scores rank last.
    base: a directory of signatures of an earlier dataset (`vl3-curate signatures`). Its samples are not read again and stand before all
    others: what is alike one of them is dropped for it.
    """

    # Columns of the signature. A sample with a null in one of them is nobody's duplicate.
    COLUMNS: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def alike(self) -> float:
        """Least share of equal bytes of two sketches for samples to be duplicates, in [0, 1]."""

    @abstractmethod
    def keys(self, table: pl.DataFrame) -> np.ndarray:
        """uint64 [N, B]: keys of each sample; only samples that share one are compared."""

    @abstractmethod
    def sketches(self, table: pl.DataFrame) -> np.ndarray:
        """uint8 [N, W]: the share of equal bytes says how alike two samples are."""

    @abstractmethod
    def signature_settings(self) -> dict[str, Any]:
        """What the signature columns depend on: a base must have been made with the same."""

    def scores(self, table: pl.DataFrame) -> np.ndarray:
        """float64 [N], higher is better; -inf where missing.

        Raises:
            OperatorError: the table has no score named `best`.
        """
        return self.scored(table)["score"].to_numpy()

    def choose(self, table: pl.DataFrame) -> pl.DataFrame:
        """All of each group but its survivor, sorted by id, with the survivor as `duplicate_of`. At once, in memory.

        `similarity` is the share of equal bytes of their sketches.
        """
        return self.choose_and_tell(table)[0]

    def choose_and_tell(self, table: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """As `choose`, and the keys under which too many samples are unlike one another."""
        from curation.select.linking import Nodes, Pairs, link, shared_keys, similarities, survivors

        table = table.drop_nulls(self.COLUMNS)
        tables = [(table, self.scores(table), False)]
        tables += [(theirs, np.zeros(len(theirs)), True) for theirs in map(self.base_table, self.base_files())]
        nodes = Nodes.concat([
            Nodes(ids=each["id"], scores=scores, fixed=np.full(len(each), fixed), sketches=self.sketches(each))
            for each, scores, fixed in tables
        ])  # fmt: skip
        keys = np.concatenate([self.keys(each) for each, _, _ in tables])
        ranks = nodes.ranks()
        found = []
        for column in range(keys.shape[1]):
            shared = shared_keys(keys[:, column])
            found.append(link(keys[shared, column], shared, nodes, ranks, low=self.alike))
        pairs = Pairs.concat(found)
        stands = survivors(pairs, nodes, ranks, low=self.alike)
        dropped = dropped_table(nodes.ids, stands, similarities(nodes.sketches, np.arange(len(nodes)), stands))
        return dropped, crowds_of(nodes.ids, pairs.crowds)
