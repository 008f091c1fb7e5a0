"""Visuals: the media of a sample to patches and the visual tokens that pruning keeps. No torch: curation counts with it.

Shapes: F frames, H height, W width, P patches, K values per patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from model.frames import FramePlan, Frames, decode_frames, decode_image, plan_frames, resize_frame
from model.geometry import Grid, Medium, VisualRules
from model.packets import Data, MediaError
from model.prune import prune_mask

ImageInput = Data | Image.Image | np.ndarray
VideoInput = Data | Frames


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledMedium:
    """A medium whose size is known and whose pixels may still be encoded."""

    name: str
    geometry: Medium
    pixels: np.ndarray | None = None  # F H W 3
    clip: VideoInput | None = None
    plan: FramePlan | None = None
    times: tuple[float, ...] = ()


def patchify(pixels: np.ndarray, *, patch: int, merge: int) -> np.ndarray:
    """Pixels [F, H, W, 3] as patches [P, K]: each merge x merge square is a run of rows, in a row colours are apart.

    Source: VideoLLaMA3's released image processor.
    """
    frames, height, width, _ = pixels.shape
    rows, columns = height // patch // merge, width // patch // merge
    squares = pixels.reshape(frames, rows, merge, patch, columns, merge, patch, 3)
    return squares.transpose(0, 1, 4, 2, 5, 7, 3, 6).reshape(-1, 3 * patch * patch)  # F R C m m 3 p p -> P K


def read_picture(image: ImageInput, rank: int) -> SampledMedium:
    """The `rank`-th picture of a sample, decoded."""
    pixels = image if isinstance(image, np.ndarray) else decode_image(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise MediaError(f"found {pixels.dtype} {pixels.shape}, wanted uint8 [height, width, 3]")
    return SampledMedium(name=f"image {rank}", geometry=Medium("image", *pixels.shape[:2]), pixels=pixels[None])


def read_clip(video: VideoInput, rank: int, rules: VisualRules, last: float | None) -> SampledMedium:
    """A clip; `last` is the second after which a streaming sample needs no more frames."""
    name = f"video {rank}"
    if isinstance(video, Frames):
        shown = len(video.times) if last is None else max(1, sum(time <= last for time in video.times))
        pixels = video.pixels[:shown]
        geometry = Medium("video", *pixels.shape[1:3], frames=shown)
        return SampledMedium(name=name, geometry=geometry, pixels=pixels, times=video.times[:shown])
    plan = plan_frames(video, rules, end=None if last is None else last + 1 / rules.fps)
    geometry = Medium("video", plan.height, plan.width, len(plan.times))
    return SampledMedium(name=name, geometry=geometry, clip=video, plan=plan, times=plan.times)


def medium_patches(medium: SampledMedium, grid: Grid, rules: VisualRules) -> np.ndarray:
    """Patches [P, K] of a medium at the size of its grid; a clip is decoded here."""
    height, width = grid.rows * rules.patch, grid.columns * rules.patch
    if medium.pixels is not None:
        pixels = np.stack([resize_frame(frame, height, width) for frame in medium.pixels])
    else:
        assert medium.plan is not None
        assert not isinstance(medium.clip, Frames)
        assert medium.clip is not None
        try:
            pixels = decode_frames(medium.clip, medium.plan, height=height, width=width).pixels
        except MediaError as error:
            raise MediaError(f"{medium.name}: {error}") from error
    return patchify(pixels, patch=rules.patch, merge=rules.merge(medium.geometry.kind))


def keep_mask(medium: SampledMedium, grid: Grid, patches: np.ndarray, rules: VisualRules) -> np.ndarray:
    """Visual tokens to keep, bool [F, tokens of a frame]."""
    tokens = grid.tokens(rules.merge(medium.geometry.kind)) // grid.frames
    if medium.geometry.kind == "image" or not rules.prune:
        return np.ones((grid.frames, tokens), bool)
    per_token = patches.reshape(grid.frames, tokens, -1)
    return prune_mask(per_token, threshold=rules.threshold, min_tokens=rules.min_prune_tokens)
