"""Probe: what the whole of a plan would take, from running a little of it.

The first samples of every branch go through all their nodes in this process, into a directory that is thrown away. Seconds and bytes per
sample, and the share that goes on, give hours, bytes and cost for the full corpus; and they tell which order of a segment's filters would
be cheaper: a filter is worth being early if it costs little and drops much.
"""

import resource
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curation.operator import Filter, Operator, PartLimits
from pipelines.accounts import Accounts
from pipelines.journal import Journal
from pipelines.plan import BranchPlan, Plan, make_plan
from pipelines.progress import Progress
from pipelines.schedule import execute
from pipelines.work import Job


@dataclass(frozen=True, kw_only=True)
class NodeCost:
    """One node, measured: seconds per sample on one worker, and the share of what it sees that goes on, in [0, 1]."""

    node: str
    seen: int
    seconds: float
    passing: float


@dataclass(frozen=True, kw_only=True)
class BranchCost:
    """One branch, projected. rows: its samples, as its parts estimate them; hours: of one worker."""

    branch: str
    rows: int
    bytes: int
    nodes: tuple[NodeCost, ...]
    hours: float
    kept: float
    suggestion: tuple[str, ...]


def probe(plan: Plan, *, samples: int = 256) -> tuple[list[BranchCost], int]:
    """Run the first `samples` of every branch; returns each branch's cost, and the peak memory of this process in bytes.

    Raises:
        OperatorError: a branch fails on its first samples, as the run would.
    """
    from pipelines.local import InProcess

    with tempfile.TemporaryDirectory(prefix="vl3-probe-") as folder:
        out = Path(folder)
        recipe = replace(plan.recipe, mixture=None)
        little = make_plan(recipe, out, data=plan.data, limits=PartLimits(rows=samples), limit=samples)
        progress, journal = Progress(little, quiet=True), Journal(little, little.id)
        try:
            accounts = execute(little, InProcess(Job.of(little), out / "work" / "cursors"), progress, journal)
        finally:
            progress.close()
            journal.close()
        costs = [_branch_cost(branch, accounts) for branch in plan.branches]
    return costs, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _branch_cost(branch: BranchPlan, accounts: Accounts) -> BranchCost:
    counts = accounts.nodes[branch.name]
    nodes = [
        NodeCost(
            node=name,
            seen=counts[name]["seen"],
            seconds=counts[name]["milliseconds"] / 1000 / max(1, counts[name]["seen"]),
            passing=counts[name]["kept"] / max(1, counts[name]["seen"]),
        )
        for name in branch.node_names()
        if name in counts
    ]
    rows, size = sum(part.rows for part in branch.parts), sum(part.bytes for part in branch.parts)
    seconds, going = 0.0, 1.0
    for node in nodes:
        seconds += going * node.seconds
        going *= node.passing
    operators = [operator for segment in branch.segments for operator in _movable(segment.operators)]
    return BranchCost(
        branch=branch.name, rows=rows, bytes=size, nodes=tuple(nodes), hours=rows * seconds / 3600, kept=going,
        suggestion=cheaper_order([node for node in nodes if node.node in operators]),
    )  # fmt: skip


def _movable(operators: Sequence[Operator]) -> list[str]:
    """Filters before the first transform: their order changes no result, only the cost (and which reason a sample is dropped for)."""
    names: list[str] = []
    for operator in operators:
        if not isinstance(operator, Filter):
            break
        names.append(operator.name)
    return names


def cheaper_order(nodes: Sequence[NodeCost]) -> tuple[str, ...]:
    """The names in the order with the least expected cost, or () where the present one is within 5 % of it.

    Filters commute, so by exchange the best order sorts by seconds over the share dropped (Hellerstein and Stonebraker, 1993).
    """
    best = sorted(nodes, key=lambda node: node.seconds / max(1e-9, 1 - node.passing))
    if _expected(nodes) <= 1.05 * _expected(best):
        return ()
    return tuple(node.node for node in best)


def _expected(nodes: Sequence[NodeCost]) -> float:
    total, going = 0.0, 1.0
    for node in nodes:
        total += going * node.seconds
        going *= node.passing
    return total


def projection(costs: Sequence[BranchCost], peak: int, *, workers: int, price: float) -> dict[str, Any]:
    """Hours on `workers` workers, bytes read, expected samples kept, memory of all workers, and the cost at `price` per worker hour."""
    hours = sum(cost.hours for cost in costs)
    return {
        "worker_hours": hours,
        "hours": hours / max(1, workers),
        "bytes": sum(cost.bytes for cost in costs),
        "samples": sum(cost.rows for cost in costs),
        "kept": round(sum(cost.rows * cost.kept for cost in costs)),
        "peak_bytes": peak * workers,
        "cost": hours * price,
    }
