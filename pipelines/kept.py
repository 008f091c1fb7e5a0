"""Kept: the samples of a part that its committed segments and Selects have left so far, as columns."""

import polars as pl

from pipelines.plan import BranchPlan, SegmentPlan
from pipelines.store import Store
from pipelines.tables import SEGMENT_SCHEMA


def kept_before(store: Store, branch: BranchPlan, index: int, part_name: str) -> pl.DataFrame:
    """Base rows of a part that enter segment `index`, with turns, scores and counts so far."""
    kept = store.read_table(branch.source_id, part_name).filter(pl.col("error").is_null())
    for segment in branch.segments[:index]:
        kept = after_segment(store, segment, part_name, kept)
    return kept


def after_segment(
    store: Store, segment: SegmentPlan, part_name: str, kept: pl.DataFrame, *, decided: bool = True
) -> pl.DataFrame:
    """Rows of `kept` that a committed segment and its Select kept, with new turns and all scores and counts as further columns.

    decided: whether the Select has decided already.
    """
    if not segment.empty:
        table = store.read_table(segment.id, part_name)
        table = table.filter(pl.col("node").is_null()).select(
            pl.exclude(*(c for c in SEGMENT_SCHEMA if c not in ("row", "turns")), "^sig\\..*$")
        )
        kept = kept.join(table.rename({"turns": "new_turns"}), on="row", how="inner", maintain_order="left")
        kept = kept.with_columns(turns=pl.coalesce("new_turns", "turns")).drop("new_turns")
    if segment.select and decided:
        if segment.relation_id:
            kept = kept.join(scores_of(store, segment, part_name), on="row", how="left", maintain_order="left")
        dropped = (
            store.scan_table(segment.select_id, "dropped").filter(pl.col("part") == part_name).select("row").collect()
        )
        kept = kept.join(dropped, on="row", how="anti", maintain_order="left")
    return kept


def scores_of(store: Store, segment: SegmentPlan, part_name: str) -> pl.DataFrame:
    """Row and scores of the samples of one part that entered a Select which gives scores."""
    assert segment.select is not None
    related = store.scan_table(segment.relation_id, "related").filter(pl.col("part") == part_name)
    return related.select("row", *segment.select.SCORES).collect()
