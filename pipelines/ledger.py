"""Ledger: where every sample went, read back."""

from pathlib import Path

import polars as pl

from curation.operator import ContractError
from pipelines.store import scan_frames

# Ledger columns that are not scores (see settle.ledger_rows).
FIXED = (
    "id", "branch", "source", "origin", "locator", "part", "decision", "node", "reason", "duplicate_of", "similarity",
    "alternates", "shard", "licence", "text_tokens", "loss_tokens", "patches", "visual_tokens", "visual_tokens_kept",
)  # fmt: skip


def scan_ledger(directory: Path) -> pl.LazyFrame:
    """All rows of OUT/ledger, lazily.

    Raises:
        FileNotFoundError: there is no ledger: nothing was curated there.
    """
    files = sorted((directory / "ledger").glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"{directory / 'ledger'}: no ledger there: run vl3-curate run first")
    return scan_frames(files)


def scan_quarantine(directory: Path) -> pl.LazyFrame | None:
    """All quarantined samples, or None when there are none."""
    files = sorted((directory / "quarantine").glob("*.parquet"))
    return scan_frames(files) if files else None


def score_columns(ledger: pl.LazyFrame) -> list[str]:
    """The names of the scores, in the recipe's order."""
    names = ledger.collect_schema().names()
    if missing := [name for name in FIXED if name not in names]:
        raise ContractError(
            f"ledger has no column {', '.join(missing)}: it was written by another version; curate again"
        )
    return [name for name in names if name not in FIXED]
