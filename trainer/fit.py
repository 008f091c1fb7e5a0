"""Fit: samples whose media make them longer than a pack, seen with fewer frames or at a lower resolution instead of not at
all.

    frames      the clips are thinned evenly to the most frames that fit, each frame at the resolution that it had
    resolution  a smaller visual budget; the frames of a clip and the text stay what they are

`Stage.long` says which are tried, in which order. What none of them makes fit, or is too long by its text, is left for
the plan to drop, counted under its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curation.shards import index_path, read_index
from model.geometry import Medium, VisualRules, plan_grids
from trainer.dataset import Dataset
from trainer.stages import Stage


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Rules under which a sample fits, in place of the stage's, and what it then counts."""

    max_tokens: int
    max_frames: int
    counts: Mapping[str, int]


def fit_media(dataset: Dataset, stage: Stage) -> Dataset:
    """The dataset with rules of their own for samples with media that exceed a pack; the same where none does."""
    long = (dataset.length > stage.pack_tokens) | (dataset.patches > stage.pack_patches)
    chosen = np.flatnonzero(long & (dataset.patches > 0))
    if not stage.long or not len(chosen):
        return dataset
    changed = {name: getattr(dataset, name).copy() for name in ("length", "patches", "visual_tokens", "frame_squares")}
    exact = dataset.exact.copy()
    max_tokens, max_frames = np.zeros(len(dataset), np.int32), np.zeros(len(dataset), np.int32)
    for shard in np.unique(dataset.shard[chosen]):
        table = read_index(index_path(dataset.shards[shard]))
        mine = chosen[dataset.shard[chosen] == shard]
        rows = table.take(dataset.row[mine]).to_pylist()
        for number, row in zip(mine.tolist(), rows, strict=True):
            tried = (POLICIES[name](row, dataset.rules, stage) for name in stage.long)
            found = next((one for one in tried if one is not None), None)
            if found is None:
                continue
            max_tokens[number], max_frames[number] = found.max_tokens, found.max_frames
            for name, count in found.counts.items():
                changed[name][number] = count
            # Pruning is known only from pixels, and fewer frames have fewer time stamps in the text.
            exact[number] = not any(medium["kind"] == "video" for medium in row["media"])
    return replace(dataset, max_tokens=max_tokens, max_frames=max_frames, exact=exact, **changed)


def _lower_resolution(row: Mapping[str, Any], rules: VisualRules, stage: Stage) -> Fitted | None:
    media = _media(row)
    merge = max(rules.merge(medium.kind) for medium in media)
    budget = min(rules.max_tokens, stage.pack_tokens - row["text_tokens"], stage.pack_patches // merge**2)
    return _fitted(row, media, rules, stage, max_tokens=budget, max_frames=rules.max_frames) if budget >= 1 else None


def _fewer_frames(row: Mapping[str, Any], rules: VisualRules, stage: Stage) -> Fitted | None:
    """The most frames per clip that fit, found by halving; None if one frame does not, or there is no clip."""
    media = _media(row)
    shares = sum(medium.frames for medium in media)
    best, low, high = None, 1, max(medium.frames for medium in media) - 1
    while low <= high:
        frames = (low + high) // 2
        fewer = [medium._replace(frames=min(medium.frames, frames)) for medium in media]
        left = sum(medium.frames for medium in fewer)
        budget = -(-rules.max_tokens * left // shares)  # each frame keeps its share of it
        found = _fitted(row, fewer, rules, stage, max_tokens=budget, max_frames=frames)
        best, low, high = (best, low, frames - 1) if found is None else (found, frames + 1, high)
    return best


POLICIES: Mapping[str, Callable[[Mapping[str, Any], VisualRules, Stage], Fitted | None]] = {
    "frames": _fewer_frames,
    "resolution": _lower_resolution,
}


def _media(row: Mapping[str, Any]) -> list[Medium]:
    return [Medium(m["kind"], m["height"], m["width"], m["grid_frames"] or 1) for m in row["media"]]


def _fitted(
    row: Mapping[str, Any],
    media: Sequence[Medium],
    rules: VisualRules,
    stage: Stage,
    *,
    max_tokens: int,
    max_frames: int,
) -> Fitted | None:
    """What a sample counts under such rules, if it then fits; its text at most what it was."""
    grids = plan_grids(media, replace(rules, max_tokens=max_tokens))
    tokens = sum(grid.tokens(rules.merge(medium.kind)) for grid, medium in zip(grids, media, strict=True))
    counts = {
        "length": row["text_tokens"] + tokens,
        "patches": sum(grid.patches for grid in grids),
        "visual_tokens": tokens,
        "frame_squares": sum(grid.frames * (grid.rows * grid.columns) ** 2 for grid in grids),
    }
    fits = counts["length"] <= stage.pack_tokens and counts["patches"] <= stage.pack_patches
    return Fitted(max_tokens=max_tokens, max_frames=max_frames, counts=counts) if fits else None
