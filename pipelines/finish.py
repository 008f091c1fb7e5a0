"""Finish: the accounts are checked, and the manifest makes it a dataset."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from curation.operator import ContractError
from curation.shards import Manifest, ShardEntry, write_manifest
from pipelines.plan import Plan
from pipelines.schedule import Graph
from pipelines.store import Store


def check_conservation(graph: Graph) -> None:
    """Every sample read is kept, dropped or quarantined, at every node, and the ledger says the same.

    The passes count as they go; the ledger is written later, from tables, by other code. Both must agree.

    Raises:
        ContractError: they do not; the run does not finish.
    """
    ended: dict[str, Counter[str]] = {branch.name: Counter() for branch in graph.plan.branches}
    for task_facts in graph.facts["settle"]:
        ended[task_facts["name"]].update(task_facts["ended"])
    for branch, nodes in graph.nodes.items():
        previous = None
        for name in graph.plan.branch(branch).node_names():
            counts = nodes.get(name)
            if counts is None:
                continue
            lost = {k: n for k, n in counts.items() if k.startswith("dropped.")} | {"error": counts["quarantined"]}
            if counts["seen"] != counts["kept"] + sum(lost.values()) or previous not in (None, counts["seen"]):
                raise ContractError(
                    f"{branch}/{name}: {previous} came, {counts['seen']} were seen, {counts['kept']} kept, {lost}: samples went missing"
                )
            previous = counts["kept"]
            for verdict, number in lost.items():
                reason = f"{name}.{verdict.removeprefix('dropped.')}"
                if ended[branch][reason] != number:
                    raise ContractError(
                        f"{branch}: the ledger says {ended[branch][reason]} x {reason}, the passes counted {number}"
                    )


def publish(plan: Plan, plan_id: str, store: Store, graph: Graph) -> Manifest:
    """Write the manifest, last; remove what an earlier recipe left in the same directory."""
    settled = graph.facts["settle"]
    entries = sorted(
        (ShardEntry(**{field.name: f[field.name] for field in fields(ShardEntry)}) for f in graph.facts["shard"]),
        key=lambda e: e.name,
    )
    manifest = Manifest(
        stage=plan.recipe.stage,
        recipe=plan.portable_recipe(),
        recipe_digest=plan.recipe_digest(),
        seed=plan.recipe.seed,
        counted_with=plan.counted_with(),
        shards=tuple(entries),
        branches={branch.name: _branch_totals(settled, branch.name) for branch in plan.branches},
        mixture=graph.facts["mixture"][0]["mixture"],
        licences=_added(f["licences"] for f in settled),
        origins=_added(f["sources"] for f in settled),
    )
    _remove_others(store, plan_id)
    _remove_copies(store)
    write_manifest(plan.out, manifest)
    store.commit(plan_id, "manifest", [plan.out / "manifest.json"], {"shards": len(entries)})
    return manifest


def finished(plan_id: str, store: Store) -> bool:
    """Whether OUT already is this plan's dataset, whole: manifest by digest, shards and indexes by presence and size."""
    if store.done(plan_id, "manifest") is None:
        return False
    markers = [*(store.work / plan_id).glob("shard-*.json"), *(store.work / plan_id).glob("settle-*.json")]
    files = (item for marker in markers for item in json.loads(marker.read_text())["files"].items())
    return all(_has_size(store.root / name, size) for name, (size, _) in files if not name.startswith("work/"))


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _branch_totals(settled: list[dict[str, Any]], name: str) -> dict[str, int]:
    return _added(facts["branch"] for facts in settled if facts["name"] == name)


def _added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return {name: int(total[name]) for name in sorted(total)}


def _remove_others(store: Store, plan_id: str) -> None:
    """Files of ledger, quarantine and shards that belong to no task of this plan."""
    ours = {
        name for marker in (store.work / plan_id).glob("*.json") for name in json.loads(marker.read_text())["files"]
    }
    for folder in ("ledger", "quarantine", "shards"):
        for path in (store.root / folder).glob("*"):
            if str(path.relative_to(store.root)) not in ours:
                path.unlink()


def _remove_copies(store: Store) -> None:
    """Copies of media that the shards now hold."""
    for path in store.work.glob("*/bring-*.bin"):
        path.unlink()
