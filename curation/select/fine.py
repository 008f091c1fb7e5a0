"""Fine views: charts, pages, logos and tiny pictures at 64 x 64 in colour, where a label or a colour is all that differs.

Only such pictures have them, deflated to some 3 kB: photographs differ in what 32 x 32 grey cells show.

Shapes: F = 64 side of a fine view.
"""

import struct
import zlib

import cv2
import numpy as np

from curation.select.aligned import place_on
from curation.select.dct_hash import SIDE, plain_share

FINE = 64
# Share of plain cells from which a picture has fine views: well below any cut that is used.
GRAPHIC = 0.25
# Cells by which two copies may be out of step.
_STEPS = (-1, 0, 1)
_HEADER = struct.Struct("<HI")


def is_graphic(thumbnails: np.ndarray, height: int, width: int) -> bool:
    """Whether a picture needs fine views: large plain areas in one of its views, or fewer pixels than a thumbnail has cells."""
    return min(height, width) < SIDE or bool((plain_share(thumbnails) >= GRAPHIC).any())


def pack_fine(views: list[np.ndarray], first: int) -> bytes:
    """RGB uint8 pixels of each view of a medium; first: the number of the first among the sample's views."""
    packed = []
    for number, pixels in enumerate(views, start=first):
        small = cv2.resize(pixels, (FINE, FINE), interpolation=cv2.INTER_AREA)
        data = zlib.compress(np.ascontiguousarray(small).tobytes(), 6)
        packed.append(_HEADER.pack(number, len(data)) + data)
    return b"".join(packed)


def unpack_fine(cell: bytes | None) -> dict[int, bytes]:
    """The deflated views of one sample by their numbers."""
    views, at = {}, 0
    while cell and at < len(cell):
        number, size = _HEADER.unpack_from(cell, at)
        views[number] = cell[at + _HEADER.size : at + _HEADER.size + size]
        at += _HEADER.size + size
    return views


def pixels_of(data: bytes) -> np.ndarray:
    """Float32 [F, F, 3]."""
    return np.frombuffer(zlib.decompress(data), np.uint8).reshape(FINE, FINE, 3).astype(np.float32)


def most_different(left: np.ndarray, right: np.ndarray, placement: np.ndarray) -> float:
    """The largest difference of 3 x 3 cells, in levels, once brightness and contrast agree: laid one on the other, or as placed.

    Args:
        left, right: float32 [F, F, 3]. placement: float [4], as of `aligned`.
    """
    placed, inside = place_on(np.moveaxis(right, 2, 0), np.tile(placement.astype(np.float32), (3, 1)))
    mask = inside[0] > 0
    return min(_difference(left, right, np.ones_like(mask)), _difference(left, np.moveaxis(placed, 0, 2), mask))


def _difference(left: np.ndarray, right: np.ndarray, inside: np.ndarray) -> float:
    ours, theirs = left[inside], right[inside]
    if not len(ours):
        return 255.0
    contrast = ((ours - ours.mean()) * (theirs - theirs.mean())).mean() / max(float(theirs.var()), 1.0)
    even = (right - theirs.mean()) * np.clip(contrast, 0.6, 1.6) + ours.mean()
    least = np.full(left.shape[:2], np.inf, np.float32)
    for down in _STEPS:
        for across in _STEPS:
            shifted = np.roll(even, (down, across), axis=(0, 1))
            least = np.minimum(least, cv2.blur(np.abs(left - shifted).max(axis=2), (3, 3)))
    return float(least[inside].max())
