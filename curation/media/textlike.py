"""Textlike: how much of a picture looks like lines of text, by its strokes alone; nothing is read.

Shapes: H rows, W columns; luma uint8.
"""

import cv2
import numpy as np

# Levels by which strokes differ from their ground at least.
_STROKE_LEVELS = 100
_CROSS = np.ones((3, 3), np.uint8)
# Letters of a line stand closer than this many pixels.
_GAP = np.ones((1, 13), np.uint8)
# Lines are at least this tall in pixels, at most this share of the picture, and this much wider than tall.
_LOWEST, _TALLEST, _WIDER = 4, 0.15, 2.0
# Of a line's box: covered once its gaps are closed, and covered by strokes themselves.
_FILLED, _STROKES = 0.5, 0.3


def text_share(luma: np.ndarray) -> float:
    """Share of the area of luma [H, W] that is boxes of text-like lines, in [0, 1].

    Strong edges are joined along rows; what forms a low, wide, evenly filled box is taken for a line. Found: printed
    text that is darker or lighter than its ground, from 4 rows of height upwards, in any script written in rows. Not
    found: columns, slanted and artistic text. Blinds, fences and brickwork may be taken for it.
    """
    from curation.media.textlike_kernels import boxes

    edges = cv2.morphologyEx(luma, cv2.MORPH_GRADIENT, _CROSS)
    level, _ = cv2.threshold(edges, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    _, strokes = cv2.threshold(edges, max(level, _STROKE_LEVELS), 1, cv2.THRESH_BINARY)
    joined = cv2.morphologyEx(strokes, cv2.MORPH_CLOSE, _GAP)
    x, y, width, height, filled = boxes(joined).T
    sums = cv2.integral(strokes)
    covered = sums[y + height, x + width] - sums[y, x + width] - sums[y + height, x] + sums[y, x]
    area = width * height
    line = (height >= _LOWEST) & (height <= _TALLEST * luma.shape[0]) & (width >= _WIDER * height)
    line &= (filled > _FILLED * area) & (covered > _STROKES * area)
    return min(1.0, float(area[line].sum()) / luma.size)
