"""Statistics: what is in the shards, for the terminal and for machines."""

from pathlib import Path
from typing import Any

import polars as pl

from curation.shards import index_path, open_dataset
from pipelines.ledger import scan_ledger, score_columns
from pipelines.store import read_frame

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


def dataset_statistics(directory: Path) -> dict[str, Any]:
    """Totals, branches, score quantiles, sequence lengths and the balance of shards.

    Raises:
        FileNotFoundError: OUT holds no finished dataset.
    """
    manifest, shards = open_dataset(directory)
    ledger = scan_ledger(directory)
    kept = pl.concat([read_frame(index_path(path)) for path in shards]) if shards else None
    totals = {
        "samples": sum(s.samples for s in manifest.shards),
        "shards": len(shards),
        "bytes": sum(s.bytes for s in manifest.shards),
    }
    return {
        "stage": manifest.stage,
        "total": totals,
        "branches": {name: _branch(ledger, name, counts) for name, counts in manifest.branches.items()},
        "mixture": manifest.mixture,
        "scores": {name: _quantiles(ledger, name) for name in score_columns(ledger)},
        "tokens": {} if kept is None else _lengths(kept),
        "balance": _balance(manifest.shards),
        "licences": dict(manifest.licences),
    }


def _branch(ledger: pl.LazyFrame, name: str, counts: Any) -> dict[str, Any]:
    rows = ledger.filter(pl.col("branch") == name).group_by("decision").len().collect()
    decisions = dict(rows.iter_rows())
    read = {"read": sum(decisions.values())} | {d: decisions.get(d, 0) for d in ("kept", "dropped", "quarantined")}
    return read | {k: v for k, v in counts.items() if k != "samples"}


def _quantiles(ledger: pl.LazyFrame, score: str) -> dict[str, Any]:
    column = pl.col(score)
    row = ledger.filter(column.is_not_null() & column.is_not_nan()).select(
        pl.len().alias("measured"), *(column.quantile(q).alias(f"{100 * q:g}_%") for q in QUANTILES)
    )
    return row.collect().row(0, named=True)


def _lengths(index: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Sequence lengths per branch, in language-model tokens."""
    lengths = index.select("branch", length=pl.col("text_tokens") + pl.col("visual_tokens_kept"))
    rows = lengths.group_by("branch").agg(
        pl.len().alias("samples"),
        pl.col("length").mean().alias("mean"),
        *(pl.col("length").quantile(q).alias(f"{100 * q:g}_%") for q in QUANTILES),
    )
    return {row.pop("branch"): row for row in rows.sort("branch").iter_rows(named=True)}


def _balance(shards: Any) -> dict[str, dict[str, Any]]:
    """How even the shards are."""
    measures = {
        "samples": [s.samples for s in shards],
        "megabytes": [s.bytes / 1e6 for s in shards],
        "tokens": [s.text_tokens + s.visual_tokens for s in shards],
    }
    return {name: {"min": min(v), "mean": sum(v) / len(v), "max": max(v)} for name, v in measures.items() if v}
