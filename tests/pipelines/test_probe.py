"""Probe: projections from a few samples, and the order of filters that costs least, against all orders tried."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.probe import NodeCost, cheaper_order, probe, projection


def node(name: str, seconds: float, passing: float) -> NodeCost:
    return NodeCost(node=name, seen=100, seconds=seconds, passing=passing)


def expected(nodes: tuple[NodeCost, ...]) -> float:
    total, going = 0.0, 1.0
    for each in nodes:
        total, going = total + going * each.seconds, going * each.passing
    return total


@given(st.lists(st.tuples(st.floats(1e-6, 1.0), st.floats(0.0, 1.0)), min_size=1, max_size=5))
def test_the_suggested_order_is_as_cheap_as_any(drawn: list[tuple[float, float]]) -> None:
    nodes = [node(str(i), seconds, passing) for i, (seconds, passing) in enumerate(drawn)]
    names = cheaper_order(nodes) or tuple(each.node for each in nodes)
    chosen = tuple(next(each for each in nodes if each.node == name) for name in names)
    assert expected(chosen) <= 1.0501 * min(expected(order) for order in permutations(nodes))


def test_a_good_order_is_left_alone() -> None:
    assert cheaper_order([node("Words", 1e-6, 0.5), node("Decodable", 1e-2, 0.99)]) == ()
    assert cheaper_order([node("Decodable", 1e-2, 0.99), node("Words", 1e-6, 0.5)]) == ("Words", "Decodable")


def test_a_probe_leaves_nothing_and_projects_the_whole(plan_of, tmp_path) -> None:
    plan = plan_of(tmp_path / "out")
    costs, peak = probe(plan, samples=10)
    assert not (tmp_path / "out").exists()
    assert {cost.branch for cost in costs} == {branch.name for branch in plan.branches}
    for cost in costs:
        assert cost.nodes[0].seen <= 10
        assert cost.hours > 0
        assert 0 <= cost.kept <= 1
    whole = projection(costs, peak, workers=4, price=2.0)
    assert whole["hours"] == pytest.approx(whole["worker_hours"] / 4)
    assert whole["cost"] == pytest.approx(2 * whole["worker_hours"])
    assert whole["bytes"] == sum(part.bytes for branch in plan.branches for part in branch.parts)
