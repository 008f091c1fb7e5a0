"""Video filters: how long a clip is and how many of its frames really decode."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from curation.batch import Batch
from curation.operator import Filter


@dataclass(frozen=True, kw_only=True)
class Duration(Filter):
    """Seconds of the longest video, > 0. Null without videos.

    Header only, unless the container does not say (browser recordings do not): then the clip is decoded once and the
    scan's duration is used.

    Source: VideoLLaMA3, arXiv:2501.13106, samples at most 180 frames at 1 per second, so that longer clips are thinned;
    it does not disclose a cut, and there is no default here.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One duration per sample, in seconds."""

        def longest(index: int) -> float | None:
            media = batch.samples[index].media
            seconds = [m.duration or batch.scan(index, j).duration for j, m in enumerate(media) if m.kind == "video"]
            return max(seconds, default=None)

        return batch.measure_each(longest)


@dataclass(frozen=True, kw_only=True)
class Frames(Filter):
    """Frames of the shortest video, >= 1. Null without videos.

    `count` "decoded" counts frames that really decode (one full decode, shared with every other operator of the pass);
    "declared" believes the container, which costs nothing and lets cut clips through. A video without a frame that
    decodes is quarantined.

    Source: ours; a clip of one frame is a picture with a misleading name.
    """

    low: float | None = 2
    count: Literal["decoded", "declared"] = "decoded"

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        if self.count == "declared":
            return batch.per_sample(batch.videos, batch.videos.frames, worst="min")

        def fewest(index: int) -> float | None:
            media = batch.samples[index].media
            frames = [float(batch.scan(index, j).frames) for j, m in enumerate(media) if m.kind == "video"]
            return min(frames, default=None)

        return batch.measure_each(fewest)
