"""Summary: what a plan will do, before anything is trained: packs, fill, balance, steps, tokens per branch."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.plan import Plan, share


def imbalance(plan: Plan, world: int) -> float:
    """Flops of the busiest rank over the mean of all, averaged over micro-steps by their cost: 1 is perfect.

    Ranks run in lock-step, so a micro-step takes as long as its busiest rank.
    """
    busiest = total = 0.0
    for step in range(plan.num_steps):
        ranks = [share(plan.step(step), rank=rank, world=world) for rank in range(world)]
        for packs in zip(*ranks, strict=True):
            costs = [0.0 if number is None else float(plan.flops[number]) for number in packs]
            busiest, total = busiest + max(costs), total + sum(costs) / world
    return busiest / total


def summarise(plan: Plan, world: int) -> dict[str, Any]:
    """The plan in numbers; fills are shares of 1."""
    dataset, stage = plan.dataset, plan.stage
    tokens, patches = plan.sums(dataset.length) / stage.pack_tokens, plan.sums(dataset.patches) / stage.pack_patches
    branch, length = dataset.branch[plan.samples], dataset.length[plan.samples]
    return {
        "stage": stage.name,
        "digest": plan.digest,
        "samples": len(plan.samples),
        "dropped": dict(plan.dropped),
        "shortened": plan.shortened,
        "shrunk": 0 if dataset.budget is None else int((dataset.budget[plan.samples] > 0).sum()),
        "packs": plan.num_packs,
        "steps": plan.num_steps,
        "step_packs": stage.step_packs,
        "pack_tokens": stage.pack_tokens,
        "pack_patches": stage.pack_patches,
        "fill_tokens": float(tokens.mean()),
        "fill_patches": float(patches.mean()),
        "fill": float(np.maximum(tokens, patches).mean()),
        "world_size": world,
        "flop_imbalance": imbalance(plan, world),
        "flops": float(plan.flops.sum()),
        "tokens": int(length.sum()),
        "loss_tokens": int(dataset.loss_tokens[plan.samples].sum()),
        "branches": {
            name: {
                "samples": int((branch == number).sum()),
                "tokens": int(length[branch == number].sum()),
                "loss_tokens": int(dataset.loss_tokens[plan.samples[branch == number]].sum()),
            }
            for number, name in enumerate(dataset.branches)
        },
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
        *([f"{summary['shrunk']:,} samples at a lower resolution, to fit a pack"] if summary["shrunk"] else []),
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
