"""Appearance: what a picture looks like in numbers, all taken from one small decode of it.

Shapes: H rows, W columns; pixels uint8 RGB. Luma is ITU-R 601 (0.299 R + 0.587 G + 0.114 B), in levels 0 to 255.
"""

import math
from typing import NamedTuple

import numpy as np

# The side pictures are measured at: the short side lies between this and its double, whatever their size, so that
# numbers of large and small pictures compare. CLIP encoders look at 224 pixels too.
SHORT_SIDE = 224
# Levels that lossy coding adds to what was plain: within them a colour counts as grey, a row as uniform.
GREY_LEVELS, BORDER_LEVELS, FLAT_LEVELS = 12, 16, 2


class Appearance(NamedTuple):
    """Numbers of one picture. Their units and uses are those of the filters of the same name.

    brightness, contrast: mean and standard deviation of luma over 255; entropy: bits; sharpness: squared levels; the
    others are shares in [0, 1].
    """

    brightness: float
    contrast: float
    entropy: float
    sharpness: float
    saturation: float
    grayscale: float
    blank: float
    borders: float


def appearance(pixels: np.ndarray) -> Appearance:
    """Measure decoded pixels, uint8 [H, W, 3]. All sums are whole numbers, so that nothing depends on their order."""
    from curation.media.appearance_kernels import inner_box, statistics, survey

    rows, columns = pixels.shape[:2]
    flat = np.ascontiguousarray(pixels).reshape(-1)
    luma, counts, value, chroma, grey, edges, squared_edges = survey(flat, columns, GREY_LEVELS)
    mean, power, entropy, commonest = statistics(counts, 2 * FLAT_LEVELS + 1)
    top, bottom, left, right = inner_box(luma.reshape(rows, columns), BORDER_LEVELS)
    edge = edges / luma.size
    return Appearance(
        brightness=mean / 255,
        contrast=math.sqrt(max(0.0, power - mean * mean)) / 255,
        entropy=max(0.0, entropy),
        sharpness=max(0.0, squared_edges / luma.size - edge * edge),
        saturation=chroma / value if value else 0.0,
        grayscale=grey / luma.size,
        blank=commonest / luma.size,
        borders=1.0 - (bottom + 1 - top) * (right + 1 - left) / luma.size,
    )
