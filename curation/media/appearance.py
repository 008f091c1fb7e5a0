"""Appearance: what a picture looks like in numbers, all taken from one small decode of it.

Shapes: H rows, W columns; pixels uint8 RGB. Luma is ITU-R 601 (0.299 R + 0.587 G + 0.114 B), in levels 0 to 255.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

# The side pictures are measured at: the short side lies between this and its double, whatever their size, so that
# numbers of large and small pictures compare. CLIP encoders look at 224 pixels too.
SHORT_SIDE = 224
# Levels that lossy coding adds to what was plain: within them a colour counts as grey, a row as uniform.
GREY_LEVELS, BORDER_LEVELS, FLAT_LEVELS = 12, 16, 2
_LEVELS = np.arange(256, dtype=np.float64)


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
    """Measure decoded pixels, uint8 [H, W, 3]."""
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    counts = cv2.calcHist([luma], [0], None, [256], [0, 256]).ravel()
    mean = float(np.dot(counts, _LEVELS)) / luma.size
    power = float(np.dot(counts, _LEVELS * _LEVELS)) / luma.size
    saturation, grayscale = _colour(pixels)
    return Appearance(
        brightness=mean / 255,
        contrast=math.sqrt(max(0.0, power - mean * mean)) / 255,
        entropy=entropy(counts),
        sharpness=sharpness(luma),
        saturation=saturation,
        grayscale=grayscale,
        blank=_largest_window(counts, 2 * FLAT_LEVELS + 1) / luma.size,
        borders=border_share(luma),
    )


def sharpness(luma: np.ndarray) -> float:
    """Variance of the Laplacian of luma [H, W], squared levels."""
    edges = cv2.Laplacian(luma, cv2.CV_16S)
    mean = cv2.sumElems(edges)[0] / edges.size
    return max(0.0, cv2.norm(edges, cv2.NORM_L2SQR) / edges.size - mean * mean)  # twice as fast as meanStdDev


def entropy(counts: np.ndarray) -> float:
    """Shannon entropy of a histogram, bits."""
    shares = counts[counts > 0] / counts.sum()
    return max(0.0, -float(np.dot(shares, np.log2(shares))))


def border_share(luma: np.ndarray) -> float:
    """Share of the area in uniform rows above and below and, between those, uniform columns at the sides.

    A line is uniform if its luma spans at most BORDER_LEVELS; a picture that is uniform throughout gives 1.
    """
    rows, columns = luma.shape
    top, bottom = _uniform_ends(luma)
    if top == rows:
        return 1.0
    left, right = _uniform_ends(luma[top : rows - bottom].T)
    return 1.0 - (rows - top - bottom) * (columns - min(columns, left + right)) / luma.size


def _uniform_ends(lines: np.ndarray) -> tuple[int, int]:
    """How many lines are uniform from the start, and from the end: all and none if every line is."""
    if np.ptp(lines[0]) > BORDER_LEVELS and np.ptp(lines[-1]) > BORDER_LEVELS:
        return 0, 0  # as most pictures are
    varied = np.flatnonzero(lines.max(axis=1) - lines.min(axis=1) > BORDER_LEVELS)
    return (int(varied[0]), len(lines) - 1 - int(varied[-1])) if varied.size else (len(lines), 0)


def _colour(pixels: np.ndarray) -> tuple[float, float]:
    """Chroma over value, and the share of grey pixels."""
    red, green, blue = cv2.split(pixels)
    value = cv2.max(cv2.max(red, green), blue)
    chroma = cv2.subtract(value, cv2.min(cv2.min(red, green), blue))
    brightest = cv2.sumElems(value)[0]
    saturation = cv2.sumElems(chroma)[0] / brightest if brightest else 0.0
    return saturation, float(np.count_nonzero(chroma <= GREY_LEVELS)) / value.size


def _largest_window(counts: np.ndarray, width: int) -> float:
    total = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    return float((total[width:] - total[:-width]).max())
