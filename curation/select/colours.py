"""Colours: what the parts of a picture are coloured like. Hashes and detail are grey: two wares of one shape, or two charts of one
layout, may differ in nothing else.

Shapes: N pairs; K = 8 cells per side; two planes, Cb and Cr, as bytes around 128 (no colour).
"""

import cv2
import numpy as np

from curation.select.aligned import place_on

CELLS = 8
# How much weaker or stronger the colours of a copy may be throughout: brightened, darkened, faded.
_WEAKEST, _STRONGEST = 0.6, 1.6


def colours(pixels: np.ndarray) -> np.ndarray:
    """RGB uint8 pixels averaged to uint8 [K, K, 2]."""
    small = cv2.resize(pixels, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)[:, :, :0:-1]


def colour_apart(left: np.ndarray, right: np.ndarray, placement: np.ndarray) -> np.ndarray:
    """The largest difference of a cell's colour, in levels, once their strength agrees: laid one on the other, or as placed.

    Args:
        left, right: uint8 [N, K, K, 2]. placement: float [N, 4], as of `aligned`.

    Returns:
        float32 [N], 0 = the same colours.
    """
    ours, theirs = left.astype(np.float32) - 128, right.astype(np.float32) - 128
    placed, inside = zip(*(place_on(theirs[..., plane], placement) for plane in (0, 1)), strict=True)
    laid = _apart(ours, theirs, np.ones(ours.shape[:3], np.float32))
    return np.minimum(laid, _apart(ours, np.stack(placed, axis=-1), inside[0]))


def _apart(ours: np.ndarray, theirs: np.ndarray, inside: np.ndarray) -> np.ndarray:
    shown = inside[..., None]
    both, own = (ours * theirs * shown).sum(axis=(1, 2, 3)), (theirs * theirs * shown).sum(axis=(1, 2, 3))
    strength = np.clip(both / np.maximum(own, 1.0), _WEAKEST, _STRONGEST)
    differences = np.abs(ours - theirs * strength[:, None, None, None]) * shown
    return differences.max(axis=(1, 2, 3))
