"""Quarantine: what failed, by error; and forgetting failures so that they are tried again."""

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from pipelines.ledger import scan_quarantine
from pipelines.measures import Measures
from pipelines.store import Store


def quarantine_by_error(directory: Path, *, examples: int = 3) -> Iterator[str]:
    """Lines for people: per node and error how many, and the first few."""
    quarantine = scan_quarantine(directory)
    if quarantine is None:
        yield f"{directory}: nothing is quarantined"
        return
    table = quarantine.sort("branch", "node", "error", "origin").collect()
    for (branch, node, error), rows in table.group_by("branch", "node", "error", maintain_order=True):
        yield f"{rows.height:,} x {branch}/{node} {error}"
        for origin, message in rows.select("origin", "message").head(examples).iter_rows():
            yield f"    {origin}: {message.splitlines()[0] if message else ''}"


# Commits that rest on all samples: one more may change them.
OVER_ALL = ("learned", "keys-", "meet-", "pairs-", "related", "dropped", "chosen", "settle-", "shard-", "manifest")


def forget_failures(directory: Path) -> int:
    """Forget every remembered failure and the commits that rest on it; returns how many samples will be tried again.

    Scores of other samples stay, so the next run looks at the failed ones only.
    """
    quarantine = scan_quarantine(directory)
    if quarantine is None:
        return 0
    failed = quarantine.select("branch", "part").unique().collect()
    store = Store.opened(directory)
    for part in failed["part"].unique().to_list():
        for path in store.measures.glob(f"*/{part}.measures.parquet"):
            measures = Measures(path)
            measures.forget_failures()
            measures.save()
        for marker in store.work.glob(f"*/{part}.json"):
            if _failed(marker):
                marker.unlink()
    for marker in store.work.glob("*/*.json"):
        if marker.name.startswith(OVER_ALL):
            marker.unlink()
    return quarantine.select(pl.len()).collect().item()


def _failed(marker: Path) -> bool:
    """Whether the commit holds failures: a pass with quarantined samples, or a base table (its reading may have failed)."""
    facts = json.loads(marker.read_text())["facts"]
    return "nodes" not in facts or any(counts["quarantined"] for counts in facts["nodes"].values())
