"""Components: which samples hang together, from edges; the same answer for any order of edges and any cut of them.

Edges may come in pieces that are never in memory together: `forest` reduces a piece to at most one edge per node that it touches, and
the components of all forests together are those of all edges. Nodes are numbered so that the better one has the smaller number; the
root of a component is then its best node.
"""

from collections.abc import Iterable

import numpy as np
from numba import njit


def components(edges: np.ndarray | Iterable[np.ndarray], nodes: int) -> np.ndarray:
    """The root of every node: the smallest number of its component.

    Args:
        edges: integers [E, 2] in [0, nodes), or several such arrays, one after the other.
        nodes: how many nodes there are; one without edges is its own root.

    Returns:
        int64 [nodes].
    """
    parents = np.arange(nodes, dtype=np.int64)
    for piece in [edges] if isinstance(edges, np.ndarray) else edges:
        checked = np.ascontiguousarray(piece, dtype=np.int64).reshape(-1, 2)
        if checked.size and (checked.min() < 0 or checked.max() >= nodes):
            raise ValueError(f"edges name nodes {checked.min()} to {checked.max()}, there are {nodes}")
        _join(parents, checked)
    _flatten(parents)
    return parents


def forest(edges: np.ndarray) -> np.ndarray:
    """Edges [F, 2] (root, node), root < node, sorted by node, that join what `edges` join; F < number of nodes touched."""
    touched, dense = np.unique(edges, return_inverse=True)
    roots = components(dense.reshape(-1, 2), len(touched))
    branches = np.flatnonzero(roots != np.arange(len(touched)))
    return np.stack([touched[roots[branches]], touched[branches]], axis=1)


@njit(cache=True)
def _root(parents, node):
    while parents[node] != node:
        parents[node] = parents[parents[node]]  # halve the path: later searches are short
        node = parents[node]
    return node


@njit(cache=True)
def _join(parents, edges):
    for edge in range(edges.shape[0]):
        one, other = _root(parents, edges[edge, 0]), _root(parents, edges[edge, 1])
        if one < other:
            parents[other] = one
        elif other < one:
            parents[one] = other


@njit(cache=True)
def _flatten(parents):
    # A parent is never larger than its child, so it is final before the child is reached.
    for node in range(parents.shape[0]):
        parents[node] = parents[parents[node]]
