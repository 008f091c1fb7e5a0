"""Settle: the last word on every sample of a part.

Writes the part's rows of the ledger (one per sample read) and of the quarantine, and puts what its chosen samples bring to the shards
where a shard can take it with ranged reads: a table, and for media that one ranged read cannot fetch (Parquet cells) a copy of their bytes.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from curation.operator import Filter
from curation.uris import atomic
from pipelines.alternates import alternates_of
from pipelines.copies import SUFFIX, point_to_copies
from pipelines.guard import Guard
from pipelines.kept import after_segment, scores_of
from pipelines.plan import BranchPlan, Plan
from pipelines.store import Store
from pipelines.tables import COUNT_SCHEMA, column_of

# Rows of what a part brings, in order of shards, that are read together: each shard reads its own, not all.
BRING_ROWS = 256
FATE = {
    "node": pl.String,
    "reason": pl.String,
    "quarantined": pl.Boolean,
    "error": pl.String,
    "message": pl.String,
    "retryable": pl.Boolean,
}
QUARANTINE_SCHEMA = pl.Schema({
    "id": pl.String, "branch": pl.String, "source": pl.String, "origin": pl.String, "locator": pl.String, "part": pl.String,
    "node": pl.String, "error": pl.String, "message": pl.String, "retryable": pl.Boolean,
})  # fmt: skip


def settle(plan: Plan, plan_id: str, store: Store, branch: BranchPlan, part_name: str, guard: Guard) -> dict[str, Any]:
    """Settle one part and commit; the facts hold what the driver adds up."""
    brought, copies = bring(store, plan_id, branch, part_name, guard)
    carried = brought.select("row", pl.col("alternates").list.len().cast(pl.Int32))
    fates = fates_of(store, plan_id, branch, part_name).join(carried, on="row", how="left", maintain_order="left")
    name = f"{branch.name}-{part_name}"
    files = [_write(store.root / "ledger" / f"{name}.parquet", ledger_rows(plan, branch, part_name, fates))]
    if (bad := quarantine_rows(branch, part_name, fates)).height:
        files.append(_write(store.root / "quarantine" / f"{name}.parquet", bad))
    files.append(store.write_table(plan_id, f"bring-{name}", brought, row_group_size=BRING_ROWS))
    # Copies are not hashed here: the shard checks every medium against the digest it had when it was read.
    return store.commit(plan_id, f"settle-{name}", files, _facts(branch, fates, brought), unhashed=copies)


def fates_of(store: Store, plan_id: str, branch: BranchPlan, part_name: str) -> pl.DataFrame:
    """One row per sample read: where it ended, with all scores; `node` is null for samples in a shard."""
    base = store.read_table(branch.source_id, part_name).drop("turns", "media")
    bad = pl.col("error").is_not_null()
    fates = base.with_columns(
        node=pl.when(bad).then(pl.lit(branch.source.name)),
        reason=pl.when(bad).then(pl.lit(f"{branch.source.name}.error")),
        quarantined=bad,
        duplicate_of=pl.lit(None, dtype=pl.String),
        similarity=pl.lit(None, dtype=pl.Float64),
    )
    for segment in branch.segments:
        if not segment.empty:
            table = store.read_table(segment.id, part_name).drop("turns", "grids", "^sig\\..*$", strict=False)
            fates = _join_fate(fates, table)
        if segment.select:
            if segment.relation_id:
                fates = _join_fate(fates, scores_of(store, segment, part_name))
            dropped = (
                store.scan_table(segment.select_id, "dropped")
                .filter(pl.col("part") == part_name)
                .select("row", "duplicate_of", "similarity")
                .collect()
            )
            reason = f"{segment.select.name}.{segment.select.VERDICT}"
            fates = _join_fate(fates, dropped.with_columns(node=pl.lit(segment.select.name), reason=pl.lit(reason)))
    chosen = _chosen(store, plan_id, branch, part_name).select("row", "chosen", "shard")
    fates = fates.join(chosen, on="row", how="left", maintain_order="left")
    left_out = pl.col("node").is_null() & ~pl.col("chosen").fill_null(value=False)
    return fates.with_columns(
        node=pl.when(left_out).then(pl.lit("Mixture")).otherwise("node"),
        reason=pl.when(left_out).then(pl.lit("Mixture.quota")).otherwise("reason"),
    ).drop("chosen")


def _join_fate(fates: pl.DataFrame, later: pl.DataFrame) -> pl.DataFrame:
    """Take over what a later node says about samples; an earlier fate stands."""
    shared = [column for column in later.columns if column in fates.columns and column != "row"]
    joined = fates.join(later, on="row", how="left", suffix=".later", maintain_order="left")
    return joined.with_columns(pl.coalesce(column, f"{column}.later").alias(column) if column != "quarantined"
        else (pl.col(column) | pl.col(f"{column}.later").fill_null(value=False)).alias(column) for column in shared
    ).drop([f"{column}.later" for column in shared])  # fmt: skip


def _chosen(store: Store, plan_id: str, branch: BranchPlan, part_name: str) -> pl.DataFrame:
    mine = (pl.col("branch") == branch.name) & (pl.col("part") == part_name)
    return store.scan_table(plan_id, "chosen").filter(mine).collect()


def score_names(plan: Plan) -> list[str]:
    """Every score of any branch, in order of first appearance: all ledger files have the same columns."""
    names: list[str] = []
    for segment in (s for branch in plan.branches for s in branch.segments):
        names += [operator.name for operator in segment.operators if isinstance(operator, Filter)]
        names += segment.select.SCORES if segment.select else ()
    return list(dict.fromkeys(names))


def ledger_rows(plan: Plan, branch: BranchPlan, part_name: str, fates: pl.DataFrame) -> pl.DataFrame:
    """The contract's ledger columns, then token counts, then one column per score."""
    scores = [
        pl.col(n).cast(pl.Float64) if n in fates.columns else pl.lit(None, dtype=pl.Float64).alias(n)
        for n in score_names(plan)
    ]
    counts = [pl.col(n) for n in COUNT_SCHEMA if n != "grids"]
    decision = (
        pl.when("quarantined")
        .then(pl.lit("quarantined"))
        .when(pl.col("node").is_null())
        .then(pl.lit("kept"))
        .otherwise(pl.lit("dropped"))
    )
    return fates.select(
        "id", pl.lit(branch.name).alias("branch"), "source", pl.col("name").alias("origin"), "locator",
        pl.lit(part_name).alias("part"), decision.alias("decision"), "node", "reason", "duplicate_of",
        "similarity", "alternates",
        pl.when(pl.col("shard").is_not_null()).then(pl.format("{}.tar", pl.col("shard").cast(pl.String).str.zfill(6))).alias("shard"),
        "licence", *counts, *scores,
    )  # fmt: skip


def quarantine_rows(branch: BranchPlan, part_name: str, fates: pl.DataFrame) -> pl.DataFrame:
    """The contract's quarantine columns."""
    bad = fates.filter("quarantined").with_columns(
        branch=pl.lit(branch.name), origin=pl.col("name"), part=pl.lit(part_name)
    )
    return bad.select(list(QUARANTINE_SCHEMA))


def bring(
    store: Store, plan_id: str, branch: BranchPlan, part_name: str, guard: Guard
) -> tuple[pl.DataFrame, list[Path]]:
    """What chosen samples bring to their shards: turns, counts, and references that one ranged read can follow; and the copies in use."""
    kept = store.read_table(branch.source_id, part_name).filter(pl.col("error").is_null())
    for segment in branch.segments:
        kept = after_segment(store, segment, part_name, kept)
    chosen = _chosen(store, plan_id, branch, part_name).filter("chosen").select("row", "shard")
    rows = kept.join(chosen, on="row", how="inner", maintain_order="left")
    columns = ["shard", "id", "row", "source", "name", "licence", "url", "turns", "media", *COUNT_SCHEMA]
    rows = rows.select(columns).with_columns(
        branch=pl.lit(branch.name),
        alternates=pl.Series(alternates_of(store, branch, part_name, rows), dtype=pl.List(pl.String)),
    )
    media = rows["media"].to_list()
    rest = store.work / plan_id / f"bring-{branch.name}-{part_name}{SUFFIX}"
    flat = [medium for listed in media for medium in listed or ()]
    files = point_to_copies(flat, store, branch.source_id, part_name, rest, guard)
    if files:
        rows = rows.with_columns(column_of("media", media, rows.schema["media"]))
    return rows.sort("shard", "id"), files


def _write(path: Path, table: pl.DataFrame) -> Path:
    with atomic(path) as temporary:
        table.write_parquet(temporary, compression="zstd", statistics=True)
    return path


def _facts(branch: BranchPlan, fates: pl.DataFrame, brought: pl.DataFrame) -> dict[str, Any]:
    ended = fates.filter(pl.col("node").is_not_null()).group_by("reason", "quarantined").len()
    media_bytes = sum(m["size"] for listed in brought["media"].to_list() for m in listed or ())
    return {
        "name": branch.name,
        "read": fates.height,
        "ended": {reason: count for reason, _, count in ended.sort("reason").iter_rows()},
        "shards": sorted(brought["shard"].unique().to_list()),
        "licences": dict(Counter(brought["licence"].fill_null("").to_list())),
        "sources": dict(Counter(brought["source"].to_list())),
        "branch": {
            "samples": brought.height, "bytes": media_bytes, "text_tokens": brought["text_tokens"].sum(),
            "loss_tokens": brought["loss_tokens"].sum(), "patches": brought["patches"].sum(),
            "visual_tokens": brought["visual_tokens"].sum(), "visual_tokens_kept": brought["visual_tokens_kept"].sum(),
        },
    }  # fmt: skip
