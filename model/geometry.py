"""Geometry: how many patches and visual tokens a medium becomes, from its size alone.

No pixels, no torch: curation counts tokens with it for every sample it reads, the processor resizes by it.

Sizes are (height, width) in pixels; a grid is (frames, rows, columns) in patches; a merge is the side of the square
of patches that is averaged into one visual token.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

Kind = Literal["image", "video"]

GEOMETRY_VERSION = 1  # raise it when the same rules would count differently


class Grid(NamedTuple):
    """Extent of one medium in patches."""

    frames: int
    rows: int
    columns: int

    @property
    def patches(self) -> int:
        """Number of patches over all frames."""
        return self.frames * self.rows * self.columns

    def tokens(self, merge: int) -> int:
        """Number of visual tokens over all frames, before pruning."""
        return self.frames * (self.rows // merge) * (self.columns // merge)


class Medium(NamedTuple):
    """What must be known of an image or a video to count its tokens; an image has one frame."""

    kind: Kind
    height: int
    width: int
    frames: int = 1


@dataclass(frozen=True, kw_only=True)
class VisualRules:
    """Rules that turn media into patches.

    `max_tokens` is the budget of visual tokens of one sample, shared equally by all its images and frames; `min_tokens`
    is the floor of each of them and wins over the budget. `fps` is frames per second taken from a video, at most
    `max_frames`. `threshold` is the pruning threshold of `model.prune`, `min_prune_tokens` what a frame keeps at least.

    Source: VideoLLaMA3, arXiv:2501.13106, and its released processor configuration (16,384 tokens at inference, 10,240
    in training; image merge 1, in the last stage 2; video merge 2; 1 frame per second, at most 180 in training).
    """

    patch: int = 14
    min_tokens: int = 16
    max_tokens: int = 16384
    image_merge: int = 1
    video_merge: int = 2
    fps: float = 1.0
    max_frames: int = 180
    prune: bool = True
    threshold: float = 0.1
    min_prune_tokens: int = 1

    def __post_init__(self) -> None:
        for name in ("patch", "min_tokens", "max_tokens", "image_merge", "video_merge", "fps", "max_frames"):
            if not getattr(self, name) > 0:
                raise ValueError(f"VisualRules: {name} is {getattr(self, name)}; it must be above 0")
        for name in ("threshold", "min_prune_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(f"VisualRules: {name} is {getattr(self, name)}; it must be at least 0")

    def merge(self, kind: Kind) -> int:
        """Side of the square of patches that becomes one visual token of an `kind`."""
        return self.image_merge if kind == "image" else self.video_merge

    def digest(self) -> str:
        """Name of these rules, 32 hex digits; equal rules count equal tokens in every process and version of Python."""
        text = json.dumps({"version": GEOMETRY_VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def smart_resize(
    height: int, width: int, *, factor: int, max_tokens: int, shares: int = 1, min_tokens: int = 16
) -> tuple[int, int]:
    """Size in pixels, both sides multiples of `factor`, for one image or frame that owns 1/`shares` of `max_tokens`.

    `factor` is patch * merge, so that one token covers factor x factor pixels. Rounds to the nearest multiple; above
    its share it is scaled down, then below `min_tokens` it is scaled up. Aspect is kept as far as multiples allow.

    Source: VideoLLaMA3's released image processor, equal to it wherever its answer has no empty side and obeys the
    budget. A strip so thin that a side would vanish keeps one token across and as many along as its share allows.
    """
    if height < 1 or width < 1:
        raise ValueError(f"smart_resize: found size {height} x {width}; both sides must be at least 1 pixel")
    area = factor * factor
    cap = max_tokens * area // shares
    rows, columns = round(height / factor), round(width / factor)
    if rows * columns * area > cap:
        scale = math.sqrt(height * width / cap) if cap else math.inf
        rows, columns = max(1, math.floor(height / scale / factor)), max(1, math.floor(width / scale / factor))
        limit = max(1, cap // area)  # binds only where the maximum above rescued a side
        rows, columns = min(rows, max(1, limit // columns)), min(columns, max(1, limit // rows))
    if rows * columns < min_tokens:
        scale = math.sqrt(min_tokens * area / (height * width))
        rows, columns = math.ceil(height * scale / factor), math.ceil(width * scale / factor)
        if min(height, width) * scale < factor and rows * columns * area > max(cap, min_tokens * area):
            rows, columns = (1, min_tokens) if height < width else (min_tokens, 1)
    return rows * factor, columns * factor


def plan_grids(media: Sequence[Medium], rules: VisualRules) -> list[Grid]:
    """Grid of each medium of one sample.

    The budget is shared equally by all images and frames of the sample, whatever their merges. With equal merges this
    is the reference's rule. With mixed merges the reference scales all by one ratio, without a floor, so that the
    same images would follow another formula once a video joins them; here one rule holds for both.
    """
    shares = sum(medium.frames for medium in media)
    grids: list[Grid] = []
    for medium in media:
        if medium.frames < 1 or (medium.kind == "image" and medium.frames != 1):
            raise ValueError(f"plan_grids: {medium}: an image has 1 frame, a video at least 1")
        height, width = smart_resize(
            medium.height,
            medium.width,
            factor=rules.patch * rules.merge(medium.kind),
            max_tokens=rules.max_tokens,
            shares=shares,
            min_tokens=rules.min_tokens,
        )
        grids.append(Grid(medium.frames, height // rules.patch, width // rules.patch))
    return grids


def count_visual_tokens(media: Sequence[Medium], rules: VisualRules) -> list[int]:
    """Visual tokens of each medium of one sample before pruning, which for images is also after."""
    return [grid.tokens(rules.merge(medium.kind)) for medium, grid in zip(media, plan_grids(media, rules), strict=True)]


def count_frames(duration: float, rules: VisualRules) -> int:
    """Frames that sampling takes from `duration` seconds: one per full 1/fps, at least 1, at most `max_frames`.

    `model.frames.sample_video` decides in the end: a container's duration may lie.
    """
    return min(max(1, math.floor(duration * rules.fps + 1e-6)), rules.max_frames)
