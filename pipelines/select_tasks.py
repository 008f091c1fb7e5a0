"""Select tasks: the tasks of a TaskedSelect over the store. What they compute is the Select's; here it is read and committed.

Tables of runs and ranges lie with the relation where the Select has one, so that another bound computes nothing again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from curation.operator import digest
from curation.select.crowds import crowd_facts
from curation.select.tasks import TaskedSelect, TaskKind
from pipelines.plan import SegmentPlan
from pipelines.store import Store

# Rows of a row group of a run's tables: the least that is read of one.
ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class Committed:
    """What a Select's earlier tasks have committed: `curation.select.tasks.Tables`.

    before, of: the kind of range task before this one, and how many there were.
    """

    store: Store
    node: str
    names: tuple[str, ...]
    before: TaskKind = "keys"
    of: int = 0

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return len(self.names)

    def learned(self) -> pl.DataFrame:
        """What was learned."""
        return self.store.read_table(self.node, "learned")

    def table(self, name: str, run: int, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A table of a run."""
        return self.store.read_table(self.node, f"{name}-{self.names[run]}", columns=columns)

    def scan(self, name: str, run: int) -> pl.LazyFrame:
        """A table of a run, lazily."""
        return self.store.scan_table(self.node, f"{name}-{self.names[run]}")

    def ranges(self) -> list[pl.LazyFrame]:
        """The tables of all ranges of the kind before."""
        return [
            self.store.scan_table(self.node, range_name(self.before, self.names, n, self.of)) for n in range(self.of)
        ]

    def related(self) -> pl.LazyFrame:
        """What the Select relates, of all runs: only once it is committed."""
        return self.store.scan_table(self.node, "related")


def node_of(segment: SegmentPlan) -> str:
    """Where the tasks of a segment's Select commit."""
    return segment.relation_id or segment.select_id


def range_name(kind: str, runs: Sequence[str], number: int, of: int) -> str:
    """Name of a range's commit: it names samples by their place in these very runs."""
    return f"{kind}-{digest(list(runs))}-{number}-{of}"


def learn(
    store: Store, segment: SegmentPlan, select: TaskedSelect, parts: Callable[[], Iterable[pl.DataFrame]]
) -> dict[str, Any]:
    """What all runs must know."""
    node = node_of(segment)
    learned = select.learn(parts)
    path = store.write_table(node, "learned", learned)
    return store.commit(node, "learned", [path], {"learned": learned.height})


def gather(
    store: Store, segment: SegmentPlan, select: TaskedSelect, run: str, table: pl.DataFrame, *, base: bool
) -> dict[str, Any]:
    """The tables of a run. base: these are no samples of the branch."""
    node = node_of(segment)
    learned = store.read_table(node, "learned") if "learn" in select.TASKS else pl.DataFrame()
    tables, keys = select.gather(table, learned, base=base)
    paths = [store.write_table(node, f"{name}-{run}", each, row_group_size=ROWS) for name, each in tables.items()]
    return store.commit(node, f"keys-{run}", paths, {"rows": 0 if base else table.height, "keys": keys})


def meet(store: Store, select: TaskedSelect, tables: Committed, number: int, of: int) -> dict[str, Any]:
    """Candidates of one range."""
    found, crowds = select.meet(tables, number, of)
    name = range_name("meet", tables.names, number, of)
    path = store.write_table(tables.node, name, found)
    return store.commit(tables.node, name, [path], {"keys": found.height, "crowds": {select.name: crowd_facts(crowds)}})


def pairs(store: Store, select: TaskedSelect, tables: Committed, number: int, of: int) -> dict[str, Any]:
    """Pairs of one range."""
    found = select.pairs(tables, number, of)
    name = range_name("pairs", tables.names, number, of)
    path = store.write_table(tables.node, name, found)
    return store.commit(tables.node, name, [path], {"pairs": found.height})


def decide(store: Store, segment: SegmentPlan, select: TaskedSelect, tables: Committed) -> tuple[int, pl.DataFrame]:
    """How many samples there were, and who is dropped."""
    if segment.relation_id and store.done(segment.relation_id, "related") is None:
        rows = 0
        with store.writing(segment.relation_id, "related") as write:
            for piece in select.related(tables):
                write(piece)
                rows += piece.height
        store.commit(segment.relation_id, "related", [store.table_path(segment.relation_id, "related")], {"rows": rows})
    total = sum(store.facts(tables.node, f"keys-{run}")["rows"] for run in tables.names)
    return total, select.decide(tables)
