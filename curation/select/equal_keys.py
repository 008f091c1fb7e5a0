"""Equal keys: the best of all samples with the same 128-bit key. Compiled kernels, and no sort but one of 64-bit numbers."""

import numpy as np
import polars as pl
import pyarrow as pa
from numba import njit

_ODD = np.uint64(0x9E3779B97F4A7C15)


def best_of_equal(high: np.ndarray, low: np.ndarray, scores: np.ndarray, ids: pl.Series) -> np.ndarray:
    """For every sample the one that stands for its key: the highest score, then the smallest id.

    Args:
        high, low: uint64 [N], the halves of each key. scores: float64 [N], no NaN. ids: N different strings.

    Returns:
        int64 [N]; a sample's own number where it survives.
    """
    mixed = high ^ (low * _ODD)  # one number to sort by; kernels compare both halves
    order = np.argsort(mixed)
    _, starts, data = ids.to_arrow().cast(pa.large_string()).buffers()
    stands = np.arange(len(high), dtype=np.int64)
    if len(high):
        places = np.frombuffer(starts, dtype=np.int64)
        _stand(order, mixed, high, low, scores, np.frombuffer(data, dtype=np.uint8), places, stands)
    return stands


@njit(cache=True)
def _stand(order, mixed, high, low, scores, ids, places, stands):
    begin = 0
    while begin < order.shape[0]:
        end = begin + 1
        while end < order.shape[0] and mixed[order[end]] == mixed[order[begin]]:
            end += 1
        for first in range(begin, end - 1):
            row = order[first]
            if stands[row] == row:
                _stand_for_one(order[first:end], high, low, scores, ids, places, stands)
        begin = end


@njit(cache=True)
def _stand_for_one(rows, high, low, scores, ids, places, stands):
    """Settle the key of the first of `rows`."""
    first = rows[0]
    best = first
    for row in rows[1:]:
        if high[row] == high[first] and low[row] == low[first] and _better(row, best, scores, ids, places):
            best = row
    for row in rows:
        if high[row] == high[first] and low[row] == low[first]:
            stands[row] = best


@njit(cache=True)
def _better(one, other, scores, ids, places):
    if scores[one] != scores[other]:
        return scores[one] > scores[other]
    length = min(places[one + 1] - places[one], places[other + 1] - places[other])
    for place in range(length):
        left, right = ids[places[one] + place], ids[places[other] + place]
        if left != right:
            return left < right
    return places[one + 1] - places[one] < places[other + 1] - places[other]
