"""Accounts: what finished tasks add up to. All that the driver remembers of them, so that its memory does not grow with the samples."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from curation.select.crowds import add_crowds
from pipelines.plan import Plan


class Accounts:
    """Sums over all tasks.

    nodes: branch -> node -> counts of samples, from the passes and Selects as they went. ended: branch -> reason -> samples, from the
    ledger. crowds: branch -> Select -> keys that more samples share than it compares (see curation.select.crowds). totals: branch ->
    samples, bytes and tokens in shards. shards: one entry per shard.
    """

    def __init__(self, plan: Plan) -> None:
        names = [branch.name for branch in plan.branches]
        self.nodes: dict[str, dict[str, Counter[str]]] = {name: defaultdict(Counter) for name in names}
        self.ended: dict[str, Counter[str]] = {name: Counter() for name in names}
        self.totals: dict[str, Counter[str]] = {name: Counter() for name in names}
        self.licences: Counter[str] = Counter()
        self.origins: Counter[str] = Counter()
        self.shards: list[dict[str, Any]] = []
        self.mixture: dict[str, Any] = {}
        self.crowds: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in names}

    def add(self, kind: str, branch: str, facts: Mapping[str, Any]) -> None:
        """A finished task."""
        for node, counts in facts.get("nodes", {}).items():
            _add_counts(self.nodes[branch][node], counts)
        for node, crowds in facts.get("crowds", {}).items():
            if crowds["keys"]:
                known = self.crowds[branch].get(node)
                self.crowds[branch][node] = add_crowds(known, crowds) if known else crowds
        if kind == "settle":
            self.ended[branch].update(facts["ended"])
            self.totals[branch].update(facts["branch"])
            self.licences.update(facts["licences"])
            self.origins.update(facts["sources"])
        elif kind == "shard":
            self.shards.append(dict(facts))
        elif kind == "mixture":
            self.mixture = facts["mixture"]


def _add_counts(total: Counter[str], counts: Mapping[str, Any]) -> None:
    for key in ("seen", "kept", "quarantined", "measured", "reused"):
        total[key] += counts.get(key, 0)
    total["milliseconds"] += round(1000 * counts.get("seconds", 0.0))
    for verdict, number in counts["dropped"].items():
        total[f"dropped.{verdict}"] += number
