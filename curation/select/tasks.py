"""Tasks: Selects that decide in tasks, none of which holds what is known of all samples.

    learn   once                 what every run must know beforehand
    keys    per run of parts     its samples, and the keys under which they may meet
    meet    per range of keys    which samples meet
    pairs   per range            which of those are alike
    decide  once                 from the pairs, and the samples that have one

A Select has some of these. `choose` does the same in memory: both give the same answer, for any runs and ranges.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import polars as pl

from curation.operator import Select

TaskKind = Literal["learn", "keys", "meet", "pairs"]
# A sample is named by its run's number * 2^32 + its row in the run's table "nodes".
RUN_BITS = 32


class Tables(Protocol):
    """What earlier tasks of one Select have committed."""

    @property
    def runs(self) -> int:
        """How many runs there are."""
        ...

    def learned(self) -> pl.DataFrame:
        """What was learned."""
        ...

    def table(self, name: str, run: int, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A table of a run."""
        ...

    def scan(self, name: str, run: int) -> pl.LazyFrame:
        """A table of a run, lazily."""
        ...

    def ranges(self) -> list[pl.LazyFrame]:
        """The tables of all ranges of the kind of task before this one."""
        ...

    def related(self) -> pl.LazyFrame:
        """What the Select's `related` gave, of all runs; asked only where there are SCORES, by the decision."""
        ...


@dataclass(frozen=True, kw_only=True)
class TaskedSelect(Select):
    """A Select that can decide in tasks. What is of a base (see curation.select.base) has "" for its part."""

    # The kinds of tasks before the decision, in order.
    TASKS: ClassVar[tuple[TaskKind, ...]]
    # The columns of the signature: a run of which nothing is left has none.
    COLUMNS: ClassVar[Mapping[str, pl.DataType | type[pl.DataType]]]

    def learn(self, parts: Callable[[], Iterable[pl.DataFrame]]) -> pl.DataFrame:
        """What runs must know. parts: gives the tables of all parts, as often as it is called."""
        raise NotImplementedError(f"{self.name} learns nothing")

    @abstractmethod
    def gather(
        self, table: pl.DataFrame, learned: pl.DataFrame, *, base: bool = False
    ) -> tuple[dict[str, pl.DataFrame], int]:
        """The tables of a run, and how many keys they hold. `nodes` has a row per sample, `id`, `part` and `row` among its columns.

        Args:
            table: what `choose` gets, of the run's samples, and `part` and `row`. learned: what `learn` returned; empty without it. base:
                these are of a base: no scores are known of them.
        """

    def num_ranges(self, kind: TaskKind, amount: int, most: int) -> int:
        """How many tasks of a kind there are, for `amount` keys or candidates, of which one should hold `most`."""
        raise NotImplementedError(f"{self.name} has no ranges, asked for {kind}: {amount} by {most}")

    def meet(self, tables: Tables, number: int, of: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Candidates of one range, and the crowds met there, as CROWDS."""
        raise NotImplementedError(f"{self.name} compares where samples meet: {tables.runs} runs, {number} of {of}")

    def pairs(self, tables: Tables, number: int, of: int) -> pl.DataFrame:
        """Pairs of one range."""
        raise NotImplementedError(f"{self.name} has no pairs: {tables.runs} runs, {number} of {of}")

    def related(self, tables: Tables) -> Iterator[pl.DataFrame]:
        """What `relate` gives, run by run, and `part` and `row`. Asked only where there are SCORES."""
        raise NotImplementedError(f"{self.name} names scores and relates nothing over {tables.runs} runs")

    @abstractmethod
    def decide(self, tables: Tables) -> pl.DataFrame:
        """What `choose` returns, and `part` and `row` of the dropped, `for_part` and `for_row` of those that stand for them."""


def named(tables: Tables, nodes: np.ndarray, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Rows of the runs' tables "nodes", by sorted different names, and the names as `node`."""
    rows = []
    for run in range(tables.runs):
        begin, end = np.searchsorted(nodes, [run << RUN_BITS, (run + 1) << RUN_BITS])
        if end > begin:
            rows.append(tables.table("nodes", run, columns)[nodes[begin:end] & ((1 << RUN_BITS) - 1)])
    if not rows:
        return tables.table("nodes", 0, columns).clear().with_columns(node=pl.lit(None, pl.Int64))
    return pl.concat(rows).with_columns(node=pl.Series(nodes, dtype=pl.Int64))


def names_of(run: int, places: pl.Expr) -> pl.Expr:
    """The names of a run's samples, by their rows."""
    return (pl.lit(run << RUN_BITS, pl.Int64) + places.cast(pl.Int64)).alias("node")


def with_places(chosen: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """What `choose` returned, with the places of both samples. places: id, part and row of all of them; a base may hold the same ids."""
    survivors = places.sort("part").unique("id", keep="first", maintain_order=True)
    survivors = survivors.select(duplicate_of="id", for_part="part", for_row="row")
    own = places.filter(pl.col("part") != "").select("id", "part", "row")
    dropped = chosen.join(own, on="id", how="left", maintain_order="left")
    return dropped.join(survivors, on="duplicate_of", how="left", maintain_order="left")
