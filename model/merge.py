"""Merge: fewer visual tokens, by averaging squares of patches between vision encoder and projector.

Shapes: P patches, Q visual tokens, E vision width.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor


def merge_squares(features: Tensor, *, lengths: Sequence[int], merges: Sequence[int]) -> Tensor:  # P E -> Q E
    """Average each m x m square of a medium; `lengths` are patches per medium, each run of m*m rows is one square.

    Source: VideoLLaMA3, arXiv:2501.13106: bilinear downsampling by m. For m = 2 that is the mean of the square. For m
    above 2 bilinear sampling sees only the one (odd m) or four (even m) cells at its centre, and so do we.
    """
    if all(merge == 1 for merge in merges):
        return features
    runs = [
        (merge, sum(length for _, length in run))
        for merge, run in groupby(zip(merges, lengths, strict=True), key=lambda medium: medium[0])
    ]
    parts = features.split([length for _, length in runs])
    return torch.cat([_centres(part, merge) for (merge, _), part in zip(runs, parts, strict=True)])


def _centres(features: Tensor, merge: int) -> Tensor:
    if merge == 1:
        return features
    squares = features.unflatten(0, (-1, merge, merge))  # P E -> Q m m E
    centre = slice((merge - 1) // 2, merge // 2 + 1)
    return squares[:, centre, centre].mean(dim=(1, 2))
