"""Neighbour kernels: compiled loops of `curation.select.neighbours`, imported where they run so that numba loads only then."""

import numpy as np
from numba import njit


@njit(cache=True)
def take_best(scores, rows, columns, ranks, best, parent):
    """Note for the worse-ranked of each pair how similar the better one is, if none was more.

    scores: float32 [rows, columns]; rows, columns: which vectors they are; best, parent: [N], changed in place. Of
    equal scores the better-ranked parent wins, so that the order of blocks does not matter.
    """
    for i in range(len(rows)):
        a = rows[i]
        for j in range(len(columns)):
            b = columns[j]
            score = scores[i, j]
            if a == b:
                continue
            worse, better = (a, b) if ranks[a] > ranks[b] else (b, a)
            if score > best[worse] or (
                score == best[worse] and parent[worse] >= 0 and ranks[better] < ranks[parent[worse]]
            ):
                best[worse] = score
                parent[worse] = better


@njit(cache=True)
def group_rows(keys, groups):
    """Row numbers by key, in order, and where each key begins: a counting sort of int32 keys in [0, groups)."""
    starts = np.zeros(groups + 1, np.int64)
    for key in keys:
        starts[key + 1] += 1
    for group in range(groups):
        starts[group + 1] += starts[group]
    at = starts.copy()
    order = np.empty(len(keys), np.int64)
    for row in range(len(keys)):
        order[at[keys[row]]] = row
        at[keys[row]] += 1
    return order, starts
