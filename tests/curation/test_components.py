"""Components: against networkx, for any order and any cut of the edges."""

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.select.components import components, forest

GRAPHS = st.integers(1, 40).flatmap(
    lambda nodes: st.tuples(
        st.just(nodes),
        st.lists(st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1)), max_size=60),
        st.randoms(use_true_random=False),
    )
)


def reference(edges: list[tuple[int, int]], nodes: int) -> list[int]:
    graph = networkx.Graph(edges)
    graph.add_nodes_from(range(nodes))
    roots = {node: min(group) for group in networkx.connected_components(graph) for node in group}
    return [roots[node] for node in range(nodes)]


@settings(deadline=None)  # the first call compiles
@given(GRAPHS)
def test_roots_are_the_smallest_of_their_component_however_edges_come(graph: tuple) -> None:
    nodes, edges, shuffle = graph
    wanted = reference(edges, nodes)
    array = np.array(edges, dtype=np.int64).reshape(-1, 2)
    assert components(array, nodes).tolist() == wanted
    turned = array[shuffle.sample(range(len(array)), len(array))][:, ::-1]
    cut = shuffle.randint(0, len(array))
    pieces = [turned[:cut], turned[cut:]]
    assert components(pieces, nodes).tolist() == wanted
    assert components([forest(piece) for piece in pieces], nodes).tolist() == wanted


@settings(deadline=None)  # the first call compiles
@given(GRAPHS)
def test_a_forest_is_small_and_points_to_roots(graph: tuple) -> None:
    _, edges, _ = graph
    array = np.array(edges, dtype=np.int64).reshape(-1, 2)
    small = forest(array)
    assert len(small) <= max(0, len(np.unique(array)) - 1)
    assert (small[:, 0] < small[:, 1]).all()
    assert len(np.unique(small[:, 1])) == len(small)


def test_a_long_chain_in_the_worst_order_ends_quickly() -> None:
    count = 1_000_000
    chain = np.stack([np.arange(count - 1, 0, -1), np.arange(count - 2, -1, -1)], axis=1)
    assert not components(chain, count).any()


def test_an_edge_to_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="nodes 0 to 7, there are 7"):
        components(np.array([[0, 7]]), 7)
