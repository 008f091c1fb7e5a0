"""What tests of runs look at: the bytes of a dataset, and its ledger."""

import hashlib
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.plan import Plan
from pipelines.run import RunResult, run

SAMPLES = 120


def build(plan: Plan, **options: Any) -> RunResult:
    """Run a plan in this process, for what it leaves besides its report, which costs more than a small run itself."""
    workers = {} if options.get("executor") == "ray" else {"workers": 0}
    return run(plan, **{**workers, "quiet": True, "report": False, **options})


def digests(out: Path) -> dict[str, str]:
    """sha256 of the manifest and everything in shards/."""
    files = [out / "manifest.json", *sorted((out / "shards").iterdir())]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def ledger(out: Path) -> pl.DataFrame:
    """All rows of the ledger."""
    return pl.concat([pl.read_parquet(path) for path in sorted((out / "ledger").glob("*.parquet"))])
