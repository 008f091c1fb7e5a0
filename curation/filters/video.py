"""Video filters: what a clip declares, what really decodes, and what it shows.

What is not in headers comes from one decode of the clip, shared by all operators of a pass (`Batch.scan`). It looks at
every second frame at least: H.264 frames that nothing leans on are skipped (see `scan_video`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from curation.batch import Batch
from curation.media.video import VideoScan
from curation.operator import Filter


def _scanned(
    batch: Batch, value: Callable[[VideoScan], float | None], *, worst: Literal["min", "max"], thorough: bool = False
) -> pl.Series:
    """A number of each clip's scan, folded over a sample's clips that have one; null without any."""
    fold = min if worst == "min" else max

    def measure(index: int) -> float | None:
        media = batch.samples[index].media
        numbers = [value(batch.scan(index, j, thorough=thorough)) for j, m in enumerate(media) if m.kind == "video"]
        return fold((float(number) for number in numbers if number is not None), default=None)

    return batch.measure_each(measure)


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

    `count` "seen" counts frames that decode, and of the H.264 frames on which no other leans (about half) those whose
    packets are whole, undecoded: bits changed within such a frame go unseen, holes and cuts do not. "decoded" decodes
    those too, for up to twice the cost. "declared" believes the container, which costs nothing and lets cut clips
    through. A video without a frame that decodes is quarantined.

    Source: ours; a clip of one frame is a picture with a misleading name.
    """

    VERSION = 4

    low: float | None = 2
    count: Literal["seen", "decoded", "declared"] = "seen"

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        if self.count == "declared":
            return batch.per_sample(batch.videos, batch.videos.frames, worst="min")
        return _scanned(batch, lambda scan: scan.frames, worst="min", thorough=self.count == "decoded")


@dataclass(frozen=True, kw_only=True)
class FrameRate(Filter):
    """Frames per second of the slowest video as its container declares them, > 0; 0 where it does not. Header only.

    Null without videos.

    Source: ours; VideoLLaMA3, arXiv:2501.13106, looks at one frame per second, so that slide shows pass unless cut.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One rate per sample."""
        return batch.per_sample(batch.videos, batch.videos.fps, worst="min")


@dataclass(frozen=True, kw_only=True)
class Bitrate(Filter):
    """Kilobits per second of the most thinly coded video, sound included, > 0. Null without videos. Header only.

    A duration that is not known counts as infinitely long, so that the rate is 0.

    Source: ours; how much is enough depends on codec and size, so there is no default.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One rate per sample, in kilobits per second."""
        media = batch.videos
        known = media.duration > 0
        rate = np.divide(media.bytes * 0.008, media.duration, out=np.zeros(len(known)), where=known)
        return batch.per_sample(media, rate, worst="min")


@dataclass(frozen=True, kw_only=True)
class SoundTracks(Filter):
    """Sound tracks of the video with the fewest, >= 0. Null without videos. From the shared decode's container.

    Source: ours; VideoLLaMA3 hears nothing, but clips whose caption retells speech may be cut by it.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        return _scanned(batch, lambda scan: scan.audio, worst="min")


@dataclass(frozen=True, kw_only=True)
class StaticShare(Filter):
    """Share of frames that equal the one before (mean luma difference below 0.35 levels at 64 x 36), in [0, 1].

    Of the most static video. One shared decode. 1 is a still picture with a video's name; slide shows and screen
    recordings come near.

    Source: ours; the default cuts what moves in less than one frame of fifty.
    """

    high: float | None = 0.98

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return _scanned(batch, lambda scan: scan.look.static, worst="max")


@dataclass(frozen=True, kw_only=True)
class Frozen(Filter):
    """Seconds of the longest stretch of static frames in any of a sample's videos, >= 0. Null without videos.

    One shared decode; static as in StaticShare. `vl3-curate measure` lists all such stretches of half a second and more.

    Source: ours, and no default: freezes at the end are common and harmless.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One time per sample, in seconds."""
        return _scanned(batch, lambda scan: scan.look.frozen, worst="max")


@dataclass(frozen=True, kw_only=True)
class BlackShare(Filter):
    """Share of black frames (mean luma below 20, none above 60, at 64 x 36), in [0, 1], of the blackest video.

    Null without videos. One shared decode. `vl3-curate measure` lists the black stretches of half a second and more.

    Source: ours; the default allows fades and a black lead-in, not a clip that is mostly dark.
    """

    high: float | None = 0.5

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return _scanned(batch, lambda scan: scan.look.black, worst="max")


@dataclass(frozen=True, kw_only=True)
class Motion(Filter):
    """Mean speed of what is seen, in frame widths per second, >= 0, of the video that moves least. Null without videos.

    Optical flow (Farneback) between neighbouring frames of 64 x 36, four times a second and at most 60 times, in the one
    shared decode. Below 0.005 nothing moves that matters, above 1 the camera shakes.

    Source: ours; Farneback, "Two-frame motion estimation based on polynomial expansion", 2003.
    """

    VERSION = 2

    def measure(self, batch: Batch) -> pl.Series:
        """One speed per sample."""
        return _scanned(batch, lambda scan: scan.look.motion, worst="min")


@dataclass(frozen=True, kw_only=True)
class VectorMotion(Filter):
    """Mean speed by the codec's motion vectors, in frame widths per second, >= 0, of the video that moves least.

    Null without videos, and for codecs whose decoder tells none (HEVC, VP9, AV1; H.264 and MPEG-4 do). A hint at no cost
    in the one shared decode, from P-pictures four times a second: it follows finer detail than Motion, and an encoder's
    whims where there is nothing to follow. Over 26 real clips the two rank alike (Spearman 0.87) and this is mostly lower
    (median ratio 0.62); they differ most in plain and in flickering scenes.

    Source: ours; NVIDIA's Cosmos-Curate filters by H.264 motion vectors. No default: it depends on the encoder.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One speed per sample."""
        return _scanned(batch, lambda scan: scan.look.vectors, worst="min")


@dataclass(frozen=True, kw_only=True)
class Shots(Filter):
    """Shots of the video with the most, >= 1: cuts, dissolves and fades part them. Null without videos.

    From every frame of the shared decode, at 32 x 18 (see `curation.media.shots`). The source `Clips` cuts by them.

    Source: ours; captions of edited clips describe one shot of many.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        return _scanned(batch, lambda scan: len(scan.look.shots), worst="max")


@dataclass(frozen=True, kw_only=True)
class TextOverlay(Filter):
    """Mean share of the picture that looks like lines of text, in [0, 1], of the video with the most. Null without videos.

    One frame in 3 seconds, at most 20, in the shared decode; the detector is that of TextArea.

    Source: ours, and no default; subtitles take 0.01 to 0.05.
    """

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return _scanned(batch, lambda scan: scan.look.text, worst="max")


@dataclass(frozen=True, kw_only=True)
class KeptTokens(Filter):
    """Share of visual tokens that pruning is expected to keep, in (0, 1], of the video that keeps most. Null without videos.

    DiffFP drops tokens equal to those of the frame a second before; here their place is compared at 4 x 4 pixels of luma
    in the shared decode, so that this is an estimate; the run's counts are exact. Low for screen recordings and slides.

    Source: VideoLLaMA3, arXiv:2501.13106, section 2.2; one frame per second, threshold 0.1, budget of its stage 3.
    """

    VERSION = 2

    def measure(self, batch: Batch) -> pl.Series:
        """One share per sample."""
        return _scanned(batch, lambda scan: scan.look.kept / scan.look.tokens, worst="max")


@dataclass(frozen=True, kw_only=True)
class VideoTokens(Filter):
    """Visual tokens of the longest video, >= 1, expected in training. Null without videos. One shared decode.

    `count` "all" counts before pruning, "kept" after it (see KeptTokens).

    Source: VideoLLaMA3, arXiv:2501.13106: one frame per second, 2 x 2 merged, at most 10,240 in training.
    """

    VERSION = 2

    count: Literal["all", "kept"] = "kept"

    @property
    def name(self) -> str:
        """What is counted is part of the name: both may stand in one branch."""
        return f"VideoTokens[{self.count}]"

    def measure(self, batch: Batch) -> pl.Series:
        """One count per sample."""
        kept = self.count == "kept"
        return _scanned(batch, lambda scan: scan.look.kept if kept else scan.look.tokens, worst="max")
