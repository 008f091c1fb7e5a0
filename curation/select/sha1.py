"""SHA-1 of shingles, compiled: the hashes that datasketch takes of them by default, so that signatures are equal bit for bit.

SHA-1 serves as a stable hash here, not as a seal.
"""

import numpy as np
from numba import njit

from curation.select.words import cut, scratch


@njit(cache=True)
def sha1_hashes(data, starts, table, size, words):
    """As `shingle_hashes`: upper halves are the first four bytes of each shingle's SHA-1, little-endian; lower halves are 0.

    Source: datasketch, sha1_hash32.
    """
    hashes = np.empty(2 * (starts[-1] - starts[0]) + 1, dtype=np.uint64)
    bounds = np.zeros(starts.shape[0], dtype=np.int64)
    joined, units = scratch(starts)
    schedule = np.empty(80, dtype=np.uint32)
    for text in range(starts.shape[0] - 1):
        found = cut(data, starts[text], starts[text + 1], table, words, joined, units)
        window, end = min(size, found), bounds[text]
        for unit in range(found - window + 1 if found else 0):
            value = _sha1(joined, units[unit, 0], units[unit + window - 1, 1], schedule)
            hashes[end] = np.uint64(value) << np.uint64(32)
            end += 1
        bounds[text + 1] = end
    return hashes[: bounds[-1]].copy(), bounds


@njit(cache=True)
def _sha1(data, begin, end, schedule):
    """The first four bytes of SHA-1 of data[begin:end], read as a little-endian integer.

    Source: FIPS 180-4.
    """
    length = end - begin
    a0, b0, c0 = np.uint32(0x67452301), np.uint32(0xEFCDAB89), np.uint32(0x98BADCFE)
    d0, e0 = np.uint32(0x10325476), np.uint32(0xC3D2E1F0)
    for block in range((length + 8) // 64 + 1):
        _schedule(data, begin, length, block, schedule)
        a, b, c, d, e = a0, b0, c0, d0, e0
        for step in range(80):
            if step < 20:
                mixed = np.uint32(((b & c) | (~b & d)) + np.uint32(0x5A827999))
            elif step < 40:
                mixed = np.uint32((b ^ c ^ d) + np.uint32(0x6ED9EBA1))
            elif step < 60:
                mixed = np.uint32(((b & c) | (b & d) | (c & d)) + np.uint32(0x8F1BBCDC))
            else:
                mixed = np.uint32((b ^ c ^ d) + np.uint32(0xCA62C1D6))
            turned = np.uint32(_turn(a, 5) + mixed + e + schedule[step])
            a, b, c, d, e = turned, a, _turn(b, 30), c, d
        a0, b0, c0 = np.uint32(a0 + a), np.uint32(b0 + b), np.uint32(c0 + c)
        d0, e0 = np.uint32(d0 + d), np.uint32(e0 + e)
    swapped = ((a0 & 0xFF) << 24) | ((a0 & 0xFF00) << 8) | ((a0 >> 8) & 0xFF00) | (a0 >> 24)
    return np.uint32(swapped)


@njit(cache=True)
def _schedule(data, begin, length, block, schedule):
    """The 80 words of one block of the padded message."""
    for word in range(16):
        value = 0
        for byte in range(4):
            place = 64 * block + 4 * word + byte
            value = (value << 8) | (np.int64(data[begin + place]) if place < length else 0x80 if place == length else 0)
        schedule[word] = np.uint32(value)
    if 64 * block + 56 >= length + 1:  # the last block: it ends with the length in bits
        schedule[14], schedule[15] = np.uint32((8 * length) >> 32), np.uint32(8 * length)
    for word in range(16, 80):
        mixed = schedule[word - 3] ^ schedule[word - 8] ^ schedule[word - 14] ^ schedule[word - 16]
        schedule[word] = _turn(mixed, 1)


@njit(cache=True)
def _turn(value, bits):
    return np.uint32((np.uint32(value) << np.uint32(bits)) | (np.uint32(value) >> np.uint32(32 - bits)))
