"""Hamming kernels: compiled loops of `curation.select.hamming`, imported where they run so that numba loads only then."""

import numpy as np
from numba import njit

_M1, _M2, _M4 = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333), np.uint64(0x0F0F0F0F0F0F0F0F)
_ONES = np.uint64(0x0101010101010101)


@njit(cache=True, inline="always")
def count_bits(x):
    """Bits set in a 64-bit word; LLVM turns this into one instruction where the processor has it."""
    x -= (x >> np.uint64(1)) & _M1
    x = (x & _M2) + ((x >> np.uint64(2)) & _M2)
    x = (x + (x >> np.uint64(4))) & _M4
    return (x * _ONES) >> np.uint64(56)


@njit(cache=True)
def scan_table(words, order, masks, table, radius, anchors, cap, found):
    """Pairs of one table: rows that agree under `masks[table]`, within `radius` bits, and under no earlier mask.

    words: hashes in the order of their keys; order: their rows; rows below `anchors` are anchors, and a pair needs
    one; found: int64 [n, 2] to append to. In a bucket of more than `cap` rows each row meets the first `cap` only.

    Returns:
        `found` (grown where needed), how many rows of it are filled, first row and size of the buckets over the cap, pairs not
        compared there.
    """
    mask = masks[table]
    filled, capped, skipped = 0, 0, 0
    crowds = np.empty((len(words) // cap + 1, 2), np.int64)
    begin = 0
    while begin < len(words):
        key = words[begin] & mask
        end = begin + 1
        while end < len(words) and words[end] & mask == key:
            end += 1
        first = end
        if end - begin > cap:
            first = begin + cap
            crowds[capped, 0], crowds[capped, 1] = order[begin], end - begin
            capped += 1
            skipped += (end - first) * (end - first - 1) // 2
        for i in range(begin, first):
            word, row = words[i], order[i]
            for j in range(i + 1, end):
                x = word ^ words[j]
                if count_bits(x) > radius:
                    continue
                if row >= anchors and order[j] >= anchors:
                    continue
                earlier = False
                for other in range(table):
                    if x & masks[other] == 0:
                        earlier = True
                        break
                if earlier:
                    continue
                if filled == len(found):
                    larger = np.empty((2 * filled + 1024, 2), np.int64)
                    larger[:filled] = found
                    found = larger
                found[filled, 0] = min(row, order[j])
                found[filled, 1] = max(row, order[j])
                filled += 1
        begin = end
    return found, filled, crowds[:capped], skipped
