"""Diff: what changed between two runs: the recipe, the counts, the samples gained and lost and why."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from curation.shards import read_manifest
from pipelines.ledger import scan_ledger

EXAMPLES = 5
ABSENT = "absent"  # a sample that the other run did not read


def dataset_diff(before: Path, after: Path) -> dict[str, Any]:
    """The differences of two finished datasets, as JSON.

    recipe: settings by path, before and after; counts: per branch the samples by what became of them; gained, lost: samples in
    the shards of one run alone, by branch and by what became of them in the other, with a few ids; scores: samples in both
    ledgers whose number for the same filter changed; shards: whether the shards hold the same bytes.

    Raises:
        FileNotFoundError: one of them is no finished dataset.
    """
    first, second = read_manifest(before), read_manifest(after)
    left, right = scan_ledger(before), scan_ledger(after)
    kept = [_kept(ledger) for ledger in (left, right)]
    return {
        "same": [s.sha256 for s in first.shards] == [s.sha256 for s in second.shards],
        "recipe": dict(_settings(first.recipe, second.recipe)),
        "counts": _counts(left, right),
        "kept": [table.select(pl.len()).collect().item() for table in kept],
        "gained": _only(kept[1], kept[0], left),
        "lost": _only(kept[0], kept[1], right),
        "scores": _scores(left, right),
    }


def _kept(ledger: pl.LazyFrame) -> pl.LazyFrame:
    return ledger.filter(pl.col("decision") == "kept").select("id", "branch", "origin")


def _settings(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Leaves that differ. Branches and operators are told apart by name, so that one more shifts none of the others."""
    before, after = (_by_name(value) for value in (before, after))
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            yield from _settings(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif before != after:
        yield path, [_brief(before), _brief(after)]


def _by_name(value: Any) -> Any:
    named = isinstance(value, list) and value and all(isinstance(v, Mapping) and "name" in v for v in value)
    return {v["name"]: v for v in value} if named else value


def _brief(value: Any) -> Any:
    """A whole operator or branch that only one side has, as its settings on one level."""
    return (
        {k: v for k, v in value.items() if not isinstance(v, Mapping | list)} if isinstance(value, Mapping) else value
    )


def _counts(left: pl.LazyFrame, right: pl.LazyFrame) -> list[dict[str, Any]]:
    """Per branch and fate: samples before, after, change; fates that did not change are left out."""
    tables = [
        ledger.group_by("branch", pl.coalesce("reason", "decision").alias("fate")).agg(
            pl.len().cast(pl.Int64).alias(name)
        )
        for ledger, name in ((left, "before"), (right, "after"))
    ]
    joined = tables[0].join(tables[1], on=["branch", "fate"], how="full", coalesce=True).fill_null(0)
    change = joined.with_columns(change=pl.col("after") - pl.col("before")).filter(pl.col("change") != 0)
    return change.sort("branch", "fate").collect().to_dicts()


def _only(mine: pl.LazyFrame, theirs: pl.LazyFrame, other: pl.LazyFrame) -> list[dict[str, Any]]:
    """Kept samples that the other run did not keep, by branch and by their fate there."""
    alone = mine.join(theirs, on="id", how="anti")
    fate = other.select("id", pl.coalesce("reason", "decision").alias("fate"))
    met = alone.join(fate, on="id", how="left").with_columns(pl.col("fate").fill_null(ABSENT)).sort("id")
    grouped = met.group_by("branch", "fate").agg(
        pl.len().alias("samples"), pl.col("id").head(EXAMPLES), pl.col("origin").head(EXAMPLES)
    )
    return grouped.sort("samples", "branch", "fate", descending=[True, False, False]).collect().to_dicts()


def _scores(left: pl.LazyFrame, right: pl.LazyFrame) -> list[dict[str, Any]]:
    """Per score in both ledgers: samples measured in both, how many numbers changed, the largest change."""
    names = [
        name
        for name, kind in left.collect_schema().items()
        if kind.is_float() and right.collect_schema().get(name, pl.Null()).is_float()
    ]
    both = left.select("id", *names).join(right.select("id", *names), on="id", suffix=".after")
    rows = []
    for name in names:
        pair = both.select(name, f"{name}.after").drop_nulls()
        gap = (pl.col(name) - pl.col(f"{name}.after")).abs()
        unequal = ~pl.col(name).eq_missing(pl.col(f"{name}.after"))  # NaN equals NaN
        facts = pair.select(
            pl.len().alias("measured in both"), unequal.sum().alias("changed"), gap.max().alias("largest change")
        )
        rows.append({"score": name, **facts.collect(engine="streaming").row(0, named=True)})
    return [row for row in rows if row["changed"]]
