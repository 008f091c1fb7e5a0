"""Summary: what a plan will do, before anything is trained: packs, fill, balance, steps, tokens per branch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from trainer.plan import Plan, share


def busiest_and_mean(plan: Plan, world: int) -> tuple[float, float]:
    """Flops of the busiest rank, and the mean of all ranks, summed over micro-steps.

    Ranks run in lock-step, so a micro-step takes as long as its busiest rank.
    """
    busiest = total = 0.0
    for step in range(plan.num_steps):
        ranks = [share(plan.step(step), rank=rank, world=world) for rank in range(world)]
        for packs in zip(*ranks, strict=True):
            costs = [0.0 if number is None else float(plan.flops[number]) for number in packs]
            busiest, total = busiest + max(costs), total + sum(costs) / world
    return busiest, total


def imbalance(plan: Plan, world: int) -> float:
    """Flops of the busiest rank over the mean of all, averaged over micro-steps by their cost: 1 is perfect."""
    busiest, mean = busiest_and_mean(plan, world)
    return busiest / mean


def summarise(plans: Iterable[Plan], world: int) -> dict[str, Any]:
    """An epoch in numbers, over the plans of its stretches; fills are shares of 1, flop_imbalance is 1 where ranks are
    perfectly balanced.
    """
    total, dropped = Counter[str](), Counter[str]()
    branches: dict[str, Counter[str]] = {}
    fills, costs = np.zeros(3), np.zeros(2)
    plan = None
    for plan in plans:
        dataset, stage = plan.dataset, plan.stage
        tokens, patches = plan.sums(dataset.length) / stage.pack_tokens, plan.sums(dataset.patches) / stage.pack_patches
        fills += tokens.sum(), patches.sum(), np.maximum(tokens, patches).sum()
        costs += busiest_and_mean(plan, world)
        dropped += plan.dropped
        shrunk = 0 if dataset.max_tokens is None else int((dataset.max_tokens[plan.samples] > 0).sum())
        total += Counter(
            stretches=1, packs=plan.num_packs, steps=plan.num_steps, shortened=plan.shortened, shrunk=shrunk
        )
        columns = {"tokens": dataset.length, "loss_tokens": dataset.loss_tokens}
        for number, name in enumerate(dataset.branches):
            mine = plan.samples[dataset.branch[plan.samples] == number]
            sums = {column: int(values[mine].sum()) for column, values in columns.items()}
            branches.setdefault(name, Counter()).update(samples=len(mine), **sums)
    assert plan is not None  # an epoch with nothing to train on raises
    fills /= total["packs"]
    return {
        "stage": plan.stage.name,
        "digest": plan.digest,
        "dropped": dict(dropped),
        **{name: total[name] for name in ("stretches", "packs", "steps", "shortened", "shrunk")},
        "step_packs": plan.stage.step_packs,
        "pack_tokens": plan.stage.pack_tokens,
        "pack_patches": plan.stage.pack_patches,
        **dict(zip(("fill_tokens", "fill_patches", "fill"), fills.tolist(), strict=True)),
        "world_size": world,
        "flop_imbalance": float(costs[0] / costs[1]),
        "flops": float(costs[1]) * world,
        **{column: sum(sums[column] for sums in branches.values()) for column in ("samples", "tokens", "loss_tokens")},
        "branches": {name: dict(sums) for name, sums in branches.items()},
    }


def describe_summary(summary: dict[str, Any]) -> str:
    """The same for a terminal."""
    rows = [
        f"{summary['stage']}  plan {summary['digest']}",
        "{samples:,} samples in {packs:,} packs in {steps:,} steps of {step_packs} packs".format_map(summary),
        "packs of {pack_tokens:,} tokens, {fill_tokens:.1%} full".format_map(summary),
        "packs of {pack_patches:,} patches, {fill_patches:.1%} full".format_map(summary),
        "by the fuller of the two {fill:.1%}".format_map(summary),
        "{world_size} ranks: busiest over mean {flop_imbalance:.3f}; {flops:.3g} flops in all".format_map(summary),
        *(f"left out {count:,} samples: {reason}" for reason, count in summary["dropped"].items()),
        *(["planned in {stretches:,} stretches".format_map(summary)] if summary["stretches"] > 1 else []),
        *(
            [f"{summary['shrunk']:,} samples with fewer frames or at a lower resolution, to fit a pack"]
            if summary["shrunk"]
            else []
        ),
        *([f"cut {summary['shortened']:,} texts to a pack's length"] if summary["shortened"] else []),
        "",
        f"{'branch':<20}{'samples':>12}{'tokens':>16}{'share':>8}{'supervised':>16}",
    ]
    total = max(1, summary["tokens"])
    rows += [
        f"{name:<20}{row['samples']:>12,}{row['tokens']:>16,}{row['tokens'] / total:>8.1%}{row['loss_tokens']:>16,}"
        for name, row in summary["branches"].items()
    ]
    return "\n".join(rows)
