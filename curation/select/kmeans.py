"""K-means: spherical clusters of unit vectors, from a sample; the same for any order of rows.

Flat up to some thousands of clusters; beyond, two levels: groups, and clusters within each group, so that assigning a
vector costs two square roots of the number of clusters instead of the number.

Shapes: N vectors, D width, K clusters.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CHUNK = 8192
ITERATIONS = 10
# From so many clusters on, assigning to all of them costs more than two levels lose.
TWO_LEVELS_FROM = 4096
# A cluster with more than this many times the mean is cut, since comparing within it costs the square.
_LARGE = 4


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Centroids float32 [K, D] of unit length; with two levels, `groups` [G, D] and the group of each centroid, sorted [K]."""

    centroids: np.ndarray
    groups: np.ndarray | None = None
    group_of: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.centroids)

    def nearest(self, vectors: np.ndarray, count: int) -> np.ndarray:
        """The `count` nearest clusters of each vector, nearest first, int32 [N, count]; any float [N, D], also memory-mapped."""
        count = min(count, len(self))
        nearest = np.empty((len(vectors), count), np.int32)
        for begin in range(0, len(vectors), CHUNK):
            block = unit(vectors[begin : begin + CHUNK])
            nearest[begin : begin + CHUNK] = self._nearest(block, count)
        return nearest

    def _nearest(self, block: np.ndarray, count: int) -> np.ndarray:
        if self.groups is None or self.group_of is None:
            return _largest(block @ self.centroids.T, count)
        visited = max(2, math.ceil(3 * count * len(self.groups) / len(self)))
        close = _largest(block @ self.groups.T, min(visited, len(self.groups)))
        scores = np.full((len(block), count), -2, np.float32)
        nearest = np.zeros((len(block), count), np.int32)
        for group in np.unique(close):
            rows = np.flatnonzero((close == group).any(axis=1))
            begin, end = np.searchsorted(self.group_of, [group, group + 1])
            both = np.hstack([scores[rows], block[rows] @ self.centroids[begin:end].T])
            known = np.hstack(
                [nearest[rows], np.broadcast_to(np.arange(begin, end, dtype=np.int32), (len(rows), end - begin))]
            )
            best = _largest(both, count)
            scores[rows] = np.take_along_axis(both, best, axis=1)
            nearest[rows] = np.take_along_axis(known, best, axis=1)
        return nearest


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows as float32 of length 1; rows of zeros stay."""
    rows = np.asarray(vectors, np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    return rows / np.where(lengths > 0, lengths, 1)[:, None]


def fit_clusters(sample: np.ndarray, clusters: int, *, two_levels: bool | None = None) -> Clusters:
    """Clusters of a sample, float [N, D], whose order must not depend on how data arrived: its first rows are the seeds."""
    rows = unit(sample)
    clusters = max(1, min(clusters, len(rows)))
    if two_levels is None:
        two_levels = clusters >= TWO_LEVELS_FROM
    if not two_levels:
        return Clusters(centroids=_fit(rows, clusters))
    groups = _fit(rows, max(1, round(math.sqrt(clusters))))
    own = _largest_of_all(rows, groups)
    centroids, group_of = [], []
    for group in range(len(groups)):
        members = rows[own == group]
        if len(members):
            centroids.append(_fit(members, max(1, round(clusters * len(members) / len(rows)))))
            group_of += [group] * len(centroids[-1])
    return Clusters(centroids=np.concatenate(centroids), groups=groups, group_of=np.array(group_of, np.int32))


def _fit(rows: np.ndarray, clusters: int) -> np.ndarray:
    """Lloyd's steps from the first rows; a cluster that empties starts again at the worst placed row."""
    centroids = rows[:clusters].copy()
    for _ in range(ITERATIONS):
        own, close = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
        for begin, scores in _scores(rows, centroids):
            own[begin : begin + len(scores)] = scores.argmax(axis=1)
            close[begin : begin + len(scores)] = scores.max(axis=1)
        means, counts = _means(rows, own, len(centroids))
        empty = np.flatnonzero(counts == 0)
        means[empty] = rows[np.argsort(close, kind="stable")[: len(empty)]]
        centroids = unit(means)
    return _cut_large(rows, centroids)


def _means(rows: np.ndarray, own: np.ndarray, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(own, kind="stable")
    counts = np.bincount(own, minlength=clusters)
    filled = np.flatnonzero(counts)
    sums = np.zeros((clusters, rows.shape[1]), np.float32)
    starts = np.concatenate([[0], np.cumsum(counts[filled])])
    for cluster, begin, end in zip(filled, starts, starts[1:], strict=False):
        sums[cluster] = rows[order[begin:end]].sum(axis=0)
    return sums, counts


def _cut_large(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Centroids with those of overfull clusters replaced by several."""
    own = _largest_of_all(rows, centroids)
    counts = np.bincount(own, minlength=len(centroids))
    wanted = len(rows) / len(centroids)
    pieces = [centroids]
    for cluster in np.flatnonzero(counts > max(_LARGE * wanted, 16)):
        members = rows[own == cluster]
        seeds = members[: math.ceil(len(members) / wanted)]
        for _ in range(3):
            means, filled = _means(members, _largest_of_all(members, seeds), len(seeds))
            seeds = unit(means[filled > 0])
        pieces.append(seeds)
    return np.concatenate(pieces)


def _largest_of_all(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    return np.concatenate([scores.argmax(axis=1) for _, scores in _scores(rows, centroids)])


def _scores(rows: np.ndarray, centroids: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for begin in range(0, len(rows), CHUNK):
        yield begin, rows[begin : begin + CHUNK] @ centroids.T


def _largest(scores: np.ndarray, count: int) -> np.ndarray:
    """Columns of the `count` largest numbers of each row, largest first, int32."""
    if count == 1:
        return scores.argmax(axis=1)[:, None].astype(np.int32)
    count = min(count, scores.shape[1])
    top = np.argpartition(scores, scores.shape[1] - count, axis=1)[:, scores.shape[1] - count :]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1).astype(np.int32)
