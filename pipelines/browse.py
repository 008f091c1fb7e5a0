"""Browse: a dataset's ledger in memory, searched and paged."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from curation.media.read import read_reference
from curation.sample import Reference
from pipelines.ledger import scan_ledger
from pipelines.query import QueryError, parse_condition
from pipelines.samples import FoundSample, SampleFinder

_TEXTUAL = re.compile(r"like|length|lower|upper|_with|coalesce", re.IGNORECASE)
# Few values, many rows: held once each.
REPEATED = ("branch", "source", "part", "decision", "node", "reason", "shard", "licence")


@dataclass(frozen=True, kw_only=True)
class Found:
    """One page of an answer. total: samples that meet the condition; rows: those of the page."""

    total: int
    rows: list[dict[str, Any]]


class DatasetView:
    """Answers questions about a dataset directory. Holds the ledger: some 150 bytes per sample.

    roots: directories below which media may be read. OUT is always one; the places that samples were read from are only if named,
    since OUT's own files say where they are and may come from anyone.
    """

    def __init__(self, directory: Path, *, roots: Sequence[Path] = ()) -> None:
        self.directory = directory.resolve()
        self.roots = (self.directory, *(root.resolve() for root in roots))
        ledger = scan_ledger(directory)
        there = ledger.collect_schema()
        repeated = [pl.col(name).cast(pl.Categorical) for name in REPEATED if name in there]
        self.table = ledger.with_columns(repeated).collect()
        self.finder = SampleFinder(directory=directory)

    @property
    def columns(self) -> list[str]:
        """What a condition may name: columns of numbers and texts."""
        return [name for name, kind in self.table.schema.items() if not kind.is_nested()]

    @cached_property
    def scores(self) -> list[str]:
        """Columns of fractional numbers, to sort by and to show."""
        return [name for name, kind in self.table.schema.items() if kind.is_float()]

    def search(
        self, condition: str = "", *, sort: str = "", descending: bool = False, offset: int = 0, limit: int = 24
    ) -> Found:
        """Samples that meet a condition, in the ledger's order or sorted by a column, a page of them.

        Raises:
            QueryError: the condition or the column cannot be used.
        """
        if sort and sort not in self.columns:
            raise QueryError(f"no column {sort!r} to sort by: there are {', '.join(self.columns)}")
        expression = parse_condition(condition, self.columns)
        places = pl.int_range(pl.len()).alias("place")
        query = self.table.lazy().select(places, *([pl.col(sort)] if sort else []), *self._named(condition, sort))
        if _TEXTUAL.search(condition):  # equality is ten times as fast on the codes
            query = query.with_columns(pl.selectors.categorical().cast(pl.String))
        try:
            if expression is not None:
                query = query.filter(expression)
            if sort:
                query = query.filter(pl.col(sort).is_not_null())
            hits = query.select("place", *([sort] if sort else [])).collect()
        except pl.exceptions.PolarsError as error:
            raise QueryError(
                f"condition cannot be computed ({str(error).splitlines()[0][:200]}): compare numbers with numbers, texts with texts"
            ) from None
        total = hits.height
        if sort:
            # Among equal values the ledger's order decides, so that pages never overlap.
            by, reverse = [sort, "place"], [not descending, True]
            best = hits.top_k(offset + limit, by=by, reverse=reverse) if total > offset + limit else hits
            hits = best.sort(by, descending=[descending, False])
        page = hits["place"].slice(offset, limit)
        return Found(total=total, rows=self.table[page].to_dicts())

    def _named(self, condition: str, sort: str) -> list[str]:
        """Columns that a condition mentions; all others stay untouched."""
        lowered = condition.lower()
        return [name for name in self.columns if name.lower() in lowered and name != sort]

    def row(self, sample: str) -> dict[str, Any] | None:
        """The ledger's row of a sample id."""
        rows = self.table.filter(pl.col("id") == sample)
        return rows.row(0, named=True) if rows.height else None

    def sample(self, row: dict[str, Any]) -> FoundSample | None:
        """The sample itself, while its bytes can be found."""
        return self.finder.find([row]).get(row["id"])

    def allowed(self, reference: Reference) -> bool:
        """Whether a medium lies below one of the roots; links are followed first."""
        if "://" in reference.uri and not reference.uri.startswith("file://"):
            return False
        path = Path(reference.uri.removeprefix("file://"))
        resolved = (path if path.is_absolute() else Path.cwd() / path).resolve()
        return any(resolved.is_relative_to(root) for root in self.roots)

    def encoded(self, reference: Reference) -> bytes:
        """The encoded bytes of a medium.

        Raises:
            PermissionError: it lies outside the roots.
            SampleError: it cannot be read.
        """
        if not self.allowed(reference):
            raise PermissionError(f"{Path(reference.uri).name} lies outside the dataset: start serve with --media DIR")
        return read_reference(reference)
