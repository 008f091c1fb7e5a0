"""Finish: the accounts are checked, and the manifest makes it a dataset."""

import json
from collections import Counter
from dataclasses import fields
from pathlib import Path

from curation.operator import ContractError
from curation.shards import Manifest, ShardEntry, write_manifest
from pipelines.accounts import Accounts
from pipelines.copies import remove_copies
from pipelines.plan import Plan
from pipelines.store import Store


def check_conservation(plan: Plan, accounts: Accounts) -> None:
    """Every sample read is kept, dropped or quarantined, at every node, and the ledger says the same.

    The passes count as they go; the ledger is written later, from tables, by other code. Both must agree.

    Raises:
        ContractError: they do not; the run does not finish.
    """
    for branch, nodes in accounts.nodes.items():
        previous = None
        for name in plan.branch(branch).node_names():
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
                if accounts.ended[branch][reason] != number:
                    raise ContractError(
                        f"{branch}: the ledger says {accounts.ended[branch][reason]} x {reason}, the passes counted {number}"
                    )


def publish(plan: Plan, plan_id: str, store: Store, accounts: Accounts) -> Manifest:
    """Write the manifest, last; remove what an earlier recipe left in the same directory."""
    entries = sorted(
        (ShardEntry(**{field.name: f[field.name] for field in fields(ShardEntry)}) for f in accounts.shards),
        key=lambda e: e.name,
    )
    manifest = Manifest(
        stage=plan.recipe.stage,
        recipe=plan.portable_recipe(),
        recipe_digest=plan.recipe_digest(),
        seed=plan.recipe.seed,
        counted_with=plan.counted_with(),
        shards=tuple(entries),
        branches={name: _sorted(counts) for name, counts in accounts.totals.items()},
        mixture=accounts.mixture,
        licences=_sorted(accounts.licences),
        origins=_sorted(accounts.origins),
    )
    _remove_others(store, plan_id)
    remove_copies(store)
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


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return {name: int(counts[name]) for name in sorted(counts)}


def _remove_others(store: Store, plan_id: str) -> None:
    """Files of ledger, quarantine and shards that belong to no task of this plan."""
    ours = {
        name for marker in (store.work / plan_id).glob("*.json") for name in json.loads(marker.read_text())["files"]
    }
    for folder in ("ledger", "quarantine", "shards"):
        for path in (store.root / folder).glob("*"):
            if str(path.relative_to(store.root)) not in ours:
                path.unlink()
