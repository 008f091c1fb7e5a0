"""Shots kernels: compiled loops of `curation.media.shots`, imported where they run so that numba loads only then."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def from_straight(pictures, starts, length):
    """How far frames in the middle are from the straight line between ends `length` frames apart.

    Args:
        pictures: uint8 [F, P].
        starts: first of the ends [n].

    Returns:
        Sums over pixels [n]: of the distance from the line, times `length`; of the distance between the ends.
    """
    off, apart = np.empty(len(starts), np.int32), np.empty(len(starts), np.int32)
    at = length // 2
    before, after, whole = np.int32(length - at), np.int32(at), np.int32(length)
    for number in range(len(starts)):
        first = starts[number]
        one, other, between = pictures[first], pictures[first + length], pictures[first + at]
        off_line, ends = np.int32(0), np.int32(0)
        for pixel in range(len(one)):
            a, b, middle = np.int32(one[pixel]), np.int32(other[pixel]), np.int32(between[pixel])
            mixed = np.int32(np.int32(before * a) + np.int32(after * b))
            off_line = np.int32(off_line + abs(np.int32(np.int32(whole * middle) - mixed)))
            ends = np.int32(ends + abs(np.int32(a - b)))
        off[number], apart[number] = off_line, ends
    return off, apart


@njit(cache=True, nogil=True)
def variances(pictures, starts, length):
    """Variances of pictures [n]: of the ends (their mean), of the frame in the middle, of the two ends mixed in equal parts."""
    ends, middles, mixed = np.empty(len(starts)), np.empty(len(starts)), np.empty(len(starts))
    for number in range(len(starts)):
        first = starts[number]
        one, other, middle = pictures[first], pictures[first + length], pictures[first + length // 2]
        products = _products(one, other)
        one_variance = _variance(products[0], products[1], len(one))
        other_variance = _variance(products[2], products[3], len(one))
        ends[number] = (one_variance + other_variance) / 2
        mixture = products[1] + 2 * products[4] + products[3]
        mixed[number] = _variance(products[0] + products[2], mixture, len(one)) / 4
        products = _products(middle, middle)
        middles[number] = _variance(products[0], products[1], len(one))
    return ends, middles, mixed


@njit(cache=True)
def _products(one, other):
    a, aa, b, bb, ab = np.int32(0), np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    for pixel in range(len(one)):  # some hundred pixels: the sums stay within 31 bits
        x, y = np.int32(one[pixel]), np.int32(other[pixel])
        a, b = np.int32(a + x), np.int32(b + y)
        aa, bb, ab = np.int32(aa + np.int32(x * x)), np.int32(bb + np.int32(y * y)), np.int32(ab + np.int32(x * y))
    return np.int64(a), np.int64(aa), np.int64(b), np.int64(bb), np.int64(ab)


@njit(cache=True)
def _variance(total, squares, size):
    return squares / size - (total / size) ** 2
