"""Signatures: the least value of each of P permutations over a text's shingles. Equal values estimate the Jaccard similarity of two.

Shapes: N texts, P permutations.

The permutations are h -> a h + b mod 2^32 with a odd, after one mixing of h: those of datasketch's scheme "affine32", so that a row
over SHA-1 hashes equals datasketch's `MinHash(num_perm=P, seed=seed).hashvalues`, and
`MinHash(hashvalues=row, seed=seed, scheme="affine32")` gives it back.

Source: Broder, On the resemblance and containment of documents, 1997; datasketch 2.0 for the permutations.
"""

import numpy as np
from numba import njit

_MIX_1, _MIX_2, _U33 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53), np.uint64(33)


def permutations(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers and increments, uint32 [P] each. Drawn from numpy's RandomState, which numpy has frozen."""
    random = np.random.RandomState(seed)
    multipliers = random.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return multipliers, random.randint(0, 1 << 32, count, dtype=np.uint32)


@njit(cache=True)
def signatures(hashes, bounds, multipliers, increments):
    """Signatures of texts from the hashes of their shingles.

    Args:
        hashes, bounds: what `shingle_hashes` returns. multipliers, increments: what `permutations` returns.

    Returns:
        uint32 [N, P]; all ones where a text has no shingles.
    """
    result = np.full((bounds.shape[0] - 1, multipliers.shape[0]), np.uint32(0xFFFFFFFF), dtype=np.uint32)
    for text in range(result.shape[0]):
        row = result[text]
        place, stop = bounds[text], bounds[text + 1]
        while place + 4 <= stop:  # four at a time: the row is read and written less often
            one, two = upper32(hashes[place]), upper32(hashes[place + 1])
            three, four = upper32(hashes[place + 2]), upper32(hashes[place + 3])
            for k in range(row.shape[0]):
                a, b = multipliers[k], increments[k]
                left = min(np.uint32(a * one + b), np.uint32(a * two + b))
                right = min(np.uint32(a * three + b), np.uint32(a * four + b))
                row[k] = min(row[k], min(left, right))
            place += 4
        for rest in range(place, stop):
            one = upper32(hashes[rest])
            for k in range(row.shape[0]):
                row[k] = min(row[k], np.uint32(multipliers[k] * one + increments[k]))
    return result


@njit(cache=True)
def upper32(hashed):
    """The upper half of a hash, through the finalizer of MurmurHash3, 32 bits."""
    value = np.uint32(hashed >> np.uint64(32))
    value = np.uint32((value ^ (value >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    value = np.uint32((value ^ (value >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(value ^ (value >> np.uint32(16)))


@njit(cache=True)
def band_keys(values, bands, rows):
    """uint64 [N, bands]: a mix of each band's number and its rows' values, so that keys of different bands do not meet."""
    keys = np.empty((values.shape[0], bands), dtype=np.uint64)
    for text in range(values.shape[0]):
        for band in range(bands):
            key = mix64(np.uint64(band))
            for row in range(band * rows, (band + 1) * rows):
                key = mix64(key ^ np.uint64(values[text, row]))
            keys[text, band] = key
    return keys


@njit(cache=True)
def eight_bits(values):
    """uint8 [N, P]: the top byte of each value times an odd constant, which every bit of the value reaches."""
    result = np.empty(values.shape, dtype=np.uint8)
    for text in range(values.shape[0]):
        for k in range(values.shape[1]):
            result[text, k] = np.uint32(values[text, k] * np.uint32(0x9E3779B1)) >> np.uint32(24)
    return result


@njit(cache=True)
def mix64(value):
    """The finalizer of MurmurHash3, 64 bits: every bit of the input moves every bit of the output."""
    value = (value ^ (value >> _U33)) * _MIX_1
    value = (value ^ (value >> _U33)) * _MIX_2
    return value ^ (value >> _U33)
