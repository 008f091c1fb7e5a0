"""Prune: which visual tokens of a video differ from the frame before (DiffFP).

Shapes: F frames, Q visual tokens of a frame, K values per token (merge * merge * 588).
"""

from __future__ import annotations

import numpy as np


def prune_mask(patches: np.ndarray, *, threshold: float = 0.1, min_tokens: int = 1) -> np.ndarray:
    """Which tokens to keep, bool [F, Q], from raw pixels uint8 [F, Q, K] in patch order.

    A token is kept if its mean absolute difference from the same place in the previous frame (the original one, pruned
    or not) is above `threshold`. The unit is the reference's: 255 times the difference of pixels scaled to -1..1, which
    is twice the difference in grey levels; 0.1 is 0.05 levels. The first frame is kept whole; a frame that would keep
    fewer than `min_tokens` keeps its first ones as well.

    Counted in whole numbers: with S the summed difference in levels, a token is kept if 2 S > threshold K. The
    reference compares float32 means, whose relative error is below 1e-4, so both agree unless a whole number lies
    within 1e-4 (relative) of threshold K / 2, which with the published threshold is 29.4 or 117.6.

    Source: VideoLLaMA3, arXiv:2501.13106, section 2.2; the scale is that of its released code.
    """
    if patches.ndim != 3 or patches.dtype != np.uint8:
        raise ValueError(f"prune_mask: found {patches.dtype} {patches.shape}, wanted uint8 [F, Q, K]")
    frames, tokens, values = patches.shape
    keep = np.ones((frames, tokens), bool)
    for now in range(1, frames):  # frame by frame: one frame of scratch memory, whatever the clip's length
        before, after = patches[now - 1], patches[now]
        difference = np.maximum(before, after) - np.minimum(before, after)
        keep[now] = 2 * difference.sum(axis=1, dtype=np.int64) > threshold * values
        if keep[now].sum() < min_tokens:
            keep[now, :min_tokens] = True
    return keep
