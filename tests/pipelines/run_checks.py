"""What tests of runs look at: the bytes of a dataset, and its ledger."""

import hashlib
from pathlib import Path

import polars as pl

SAMPLES = 120


def digests(out: Path) -> dict[str, str]:
    """sha256 of the manifest and everything in shards/."""
    files = [out / "manifest.json", *sorted((out / "shards").iterdir())]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def ledger(out: Path) -> pl.DataFrame:
    """All rows of the ledger."""
    return pl.concat([pl.read_parquet(path) for path in sorted((out / "ledger").glob("*.parquet"))])
