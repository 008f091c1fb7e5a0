"""Fit: samples whose media make them longer than a pack, given a smaller visual budget, so that they are seen at a lower
resolution instead of not at all.

The frames of a clip and the text stay what they are. What is too long even at the lowest resolution, or by its text, is
left for the plan to drop, counted under its reason.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from curation.shards import index_path, read_index
from model.geometry import Medium, VisualRules, plan_grids
from trainer.dataset import Dataset
from trainer.stages import Stage


def shrink_media(dataset: Dataset, stage: Stage) -> Dataset:
    """The dataset with a `budget` for samples with media that exceed a pack of the stage; the same where none does."""
    long = (dataset.length > stage.pack_tokens) | (dataset.patches > stage.pack_patches)
    chosen = np.flatnonzero(long & (dataset.patches > 0))
    if not stage.shrink or not len(chosen):
        return dataset
    changed = {name: getattr(dataset, name).copy() for name in ("length", "patches", "visual_tokens", "frame_squares")}
    exact, budget = dataset.exact.copy(), np.zeros(len(dataset), np.int64)
    for shard in np.unique(dataset.shard[chosen]):
        table = read_index(index_path(dataset.shards[shard]))
        mine = chosen[dataset.shard[chosen] == shard]
        rows = table.take(dataset.row[mine]).to_pylist()
        for number, row in zip(mine.tolist(), rows, strict=True):
            found = _smaller(row, dataset.rules, stage)
            if found is None:
                continue
            budget[number], counts = found
            for name, count in counts.items():
                changed[name][number] = count
            videos = any(medium["kind"] == "video" for medium in row["media"])
            exact[number] = not (videos and dataset.rules.prune)
    return replace(dataset, budget=budget, exact=exact, **changed)


def _smaller(row: dict[str, Any], rules: VisualRules, stage: Stage) -> tuple[int, dict[str, int]] | None:
    """A budget with which a sample fits, and its counts then; None if there is none."""
    media = [Medium(m["kind"], m["height"], m["width"], m["grid_frames"] or 1) for m in row["media"]]
    merges = [rules.merge(medium.kind) for medium in media]
    budget = min(rules.max_tokens, stage.pack_tokens - row["text_tokens"], stage.pack_patches // max(merges) ** 2)
    if budget < 1:
        return None
    grids = plan_grids(media, replace(rules, max_tokens=budget))
    tokens = sum(grid.tokens(merge) for grid, merge in zip(grids, merges, strict=True))
    counts = {
        "length": row["text_tokens"] + tokens,
        "patches": sum(grid.patches for grid in grids),
        "visual_tokens": tokens,
        "frame_squares": sum(grid.frames * (grid.rows * grid.columns) ** 2 for grid in grids),
    }
    fits = counts["length"] <= stage.pack_tokens and counts["patches"] <= stage.pack_patches
    return (budget, counts) if fits else None
