"""Neighbours: for each vector the most similar one that is ranked before it, looked for in its own and the next clusters.

Shapes: N vectors, D width.
"""

import numpy as np

from curation.select.kmeans import CHUNK, Clusters, unit

# Vectors compared at once: a block of scores is 64 MiB.
_ROWS, _COLUMNS = 4096, 4096


def nearest_before(
    vectors: np.ndarray,
    ranks: np.ndarray,
    clusters: Clusters,
    *,
    visited: int,
    floor: float = 0.0,
    fixed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and row of the most similar vector of lower rank: float32 [N] (-1 = none was compared), int64 [N] (-1).

    A pair is compared where the cluster of one is among the `visited` nearest clusters of the other. Among those, a cluster
    is left out where no vector of it can have a cosine of `floor`: what is missed above it lies beyond `visited` clusters.
    Memory: a block of scores, one cluster, and some 12 `visited` bytes per vector.

    Args:
        vectors: float16 or float32 [N, D], unit length but for rounding; may be memory-mapped.
        ranks: int64 [N], distinct; only what is ranked before counts (0 = best).
        floor: the lowest cosine that is of interest; lower ones may be missed or come out too low.
        fixed: bool [N], vectors that are ranked before all others and are not asked about.
    """
    from curation.select.neighbour_kernels import group_rows

    nearest = visited_clusters(vectors, clusters, visited=visited, floor=floor)
    best = np.full(len(vectors), -1, np.float32)
    parent = np.full(len(vectors), -1, np.int64)
    ranks = np.ascontiguousarray(ranks, np.int64)
    (members, begins), *guests = (group_rows(np.ascontiguousarray(column), len(clusters) + 1) for column in nearest.T)
    for cluster in range(len(clusters)):
        own = members[begins[cluster] : begins[cluster + 1]]
        visitors = [order[starts[cluster] : starts[cluster + 1]] for order, starts in guests]
        compare(vectors, own, np.sort(np.concatenate([own, *visitors])), ranks, best, parent, fixed)
    return best, parent


def compare(
    vectors: np.ndarray, own: np.ndarray, others: np.ndarray, ranks: np.ndarray, best: np.ndarray, parent: np.ndarray,
    fixed: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Compare a cluster's own vectors with all that visit it; `best` and `parent`, as of `nearest_before`, are changed in place."""
    if fixed is None or not fixed.any():
        _compare(vectors, own, others, ranks, best, parent)
        return
    asked, known = own[~fixed[own]], own[fixed[own]]  # two that are not asked about need not be compared
    _compare(vectors, asked, others, ranks, best, parent)
    _compare(vectors, known, others[~fixed[others]], ranks, best, parent)


def _compare(
    vectors: np.ndarray, own: np.ndarray, others: np.ndarray, ranks: np.ndarray, best: np.ndarray, parent: np.ndarray
) -> None:
    from curation.select.neighbour_kernels import take_best

    for begin in range(0, len(own), _COLUMNS):
        columns = own[begin : begin + _COLUMNS]
        right = unit(vectors[columns])
        for start in range(0, len(others), _ROWS):
            rows = others[start : start + _ROWS]
            take_best(unit(vectors[rows]) @ right.T, rows, columns, ranks, best, parent)


def visited_clusters(vectors: np.ndarray, clusters: Clusters, *, visited: int, floor: float) -> np.ndarray:
    """For each vector its own cluster and the others to compare it in, int32 [N, visited]; K where one is left out."""
    nearest = clusters.nearest(vectors, visited)
    _leave_out_far(vectors, clusters, nearest, floor)
    return nearest


def _leave_out_far(vectors: np.ndarray, clusters: Clusters, nearest: np.ndarray, floor: float) -> None:
    """Put K in place of clusters, beyond a vector's own, that hold nothing within `floor` of it.

    Let x be a vector with own centroid h, and y one whose own centroid is c. y is nearer to c than to h; x is y turned by
    at most the angle of `floor`, which changes x.(h - c) by at most its sine times |h - c|. So x.(h - c) is no larger.
    """
    sine = np.sqrt(max(0.0, 1 - floor * floor))
    for begin in range(0, len(vectors), CHUNK):
        block = unit(vectors[begin : begin + CHUNK])
        own = clusters.centroids[nearest[begin : begin + CHUNK, 0]]
        for place in range(1, nearest.shape[1]):
            apart = own - clusters.centroids[nearest[begin : begin + CHUNK, place]]
            gap = np.einsum("nd,nd->n", block, apart)
            reach = sine * np.sqrt(np.einsum("nd,nd->n", apart, apart)) + 1e-3  # half precision
            nearest[begin : begin + CHUNK, place][gap > reach] = len(clusters)
