"""Neighbours: for each vector the most similar one that is ranked before it, looked for in its own and the next clusters.

Shapes: N vectors, D width.
"""

import numpy as np

from curation.select.kmeans import Clusters, unit

# Vectors compared at once: a block of scores is 64 MiB.
_ROWS, _COLUMNS = 4096, 4096


def nearest_before(
    vectors: np.ndarray, ranks: np.ndarray, clusters: Clusters, *, visited: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and row of the most similar vector of lower rank: float32 [N] (-1 = none was compared), int64 [N] (-1).

    A pair is compared where the cluster of one is among the `visited` nearest clusters of the other, so what is missed
    lies on far sides of two clusters. Memory: a block of scores, one cluster, and 12 + 4 `visited` bytes per vector.

    Args:
        vectors: float16 or float32 [N, D], unit length but for rounding; may be memory-mapped.
        ranks: int64 [N], distinct; only what is ranked before counts (0 = best).
    """
    from curation.select.neighbour_kernels import group_rows, take_best

    nearest = clusters.nearest(vectors, visited)
    best = np.full(len(vectors), -1, np.float32)
    parent = np.full(len(vectors), -1, np.int64)
    ranks = np.ascontiguousarray(ranks, np.int64)
    members, begins = group_rows(np.ascontiguousarray(nearest[:, 0]), len(clusters))
    guests = [
        group_rows(np.ascontiguousarray(nearest[:, place]), len(clusters)) for place in range(1, nearest.shape[1])
    ]
    for cluster in range(len(clusters)):
        own = members[begins[cluster] : begins[cluster + 1]]
        visitors = [order[starts[cluster] : starts[cluster + 1]] for order, starts in guests]
        others = np.sort(np.concatenate([own, *visitors]))
        for begin in range(0, len(own), _COLUMNS):
            columns = own[begin : begin + _COLUMNS]
            right = unit(vectors[columns])
            for start in range(0, len(others), _ROWS):
                rows = others[start : start + _ROWS]
                take_best(unit(vectors[rows]) @ right.T, rows, columns, ranks, best, parent)
    return best, parent
