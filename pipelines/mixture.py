"""Mixture: which of the kept samples go into the dataset, in which shard.

Everything follows from (seed, sample id): the priority by which a quota is filled and the order in which samples are laid into shards.
So the result is the same whatever ran where, and adding data to a branch moves only the samples that the new ones displace.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from curation.operator import OperatorError
from pipelines.recipe import Mixture, ShardLimits

# What a sample's json member takes beside its text, for planning shard sizes; shards may exceed their limit by this error.
JSON_OVERHEAD = 1024


def choose(samples: pl.DataFrame, mixture: Mixture | None, *, seed: int) -> pl.DataFrame:
    """Add `chosen`: within its branch's share of the budget.

    Args:
        samples: all kept samples: `branch`, `id`, `tokens` (language plus kept visual tokens).

    Raises:
        OperatorError: a branch that the mixture weighs has no sample left, or a budget cannot be met.
    """
    if mixture is None:
        return samples.with_columns(chosen=pl.lit(True))
    unit = pl.lit(1, dtype=pl.Int64) if mixture.unit == "samples" else pl.col("tokens").cast(pl.Int64)
    priority = pl.Series("priority", uniform(samples["id"], seed=seed, purpose="mixture"))
    amounts = samples.with_columns(unit.alias("amount"), priority)
    quotas = branch_quotas(_amounts(amounts), mixture)
    ranked = amounts.with_row_index("place").sort("branch", "priority", "id")
    filled = ranked.with_columns(filled=pl.col("amount").cum_sum().over("branch"))
    limits = pl.DataFrame(
        {"branch": list(quotas), "quota": list(quotas.values())}, schema={"branch": pl.String, "quota": pl.Float64}
    )
    decided = filled.join(limits, on="branch", how="left").with_columns(
        chosen=pl.col("filled") <= pl.col("quota") + 1e-6
    )
    return decided.sort("place").select(*samples.columns, "chosen")


def _amounts(samples: pl.DataFrame) -> dict[str, int]:
    return dict(samples.group_by("branch").agg(pl.col("amount").sum()).iter_rows())


def branch_quotas(amounts: Mapping[str, int], mixture: Mixture) -> dict[str, float]:
    """How much of each branch goes in, in the mixture's unit.

    Without a budget the scarcest branch or group is used whole and sets the scale of the others.
    """
    total, groups = sum(mixture.weights.values()), mixture.members()
    shares = {name: weight / total for name, weight in mixture.weights.items()}
    if empty := sorted(name for group in groups.values() for name in group if not amounts.get(name)):
        raise OperatorError(
            f"mixture: no sample of {', '.join(empty)} was kept: loosen its bounds or take it out of the mixture"
        )
    held = {name: sum(amounts[branch] for branch in group) for name, group in groups.items()}
    possible = min(held[name] / share for name, share in shares.items())
    if mixture.budget is not None and mixture.budget > possible * (1 + 1e-9):
        scarcest = min(shares, key=lambda name: held[name] / shares[name])
        raise OperatorError(
            f"mixture: a budget of {mixture.budget:,} {mixture.unit} needs {mixture.budget * shares[scarcest]:,.0f} of '{scarcest}', "
            f"{held[scarcest]:,} were kept: lower the budget to {int(possible):,} or the weight of '{scarcest}'"
        )
    scale = possible if mixture.budget is None else mixture.budget
    quotas: dict[str, float] = {}
    for name, group in groups.items():
        filled = fill_group(scale * shares[name], group, amounts)
        quotas |= whole_numbers(filled, amounts) if mixture.unit == "samples" and len(group) > 1 else filled
    return quotas


def fill_group(quota: float, weights: Mapping[str, float], amounts: Mapping[str, int]) -> dict[str, float]:
    """A group's quota dealt to its branches by weight; what a branch lacks goes to the others, again by weight.

    Each gets at least 1 where there is one: a corpus that is there is never left out.
    """
    dealt: dict[str, float] = {}
    open_ = dict(weights)
    while open_:
        scale = max(0.0, quota - sum(dealt.values())) / sum(open_.values())
        bounded = {name: float(amounts[name]) for name, weight in open_.items() if scale * weight >= amounts[name]}
        bounded = bounded or {name: 1.0 for name, weight in open_.items() if scale * weight < 1 <= amounts[name]}
        if not bounded:
            return dealt | {name: scale * weight for name, weight in open_.items()}
        dealt |= bounded
        open_ = {name: weight for name, weight in open_.items() if name not in bounded}
    return dealt


def whole_numbers(quotas: Mapping[str, float], amounts: Mapping[str, int]) -> dict[str, float]:
    """Quotas rounded to whole numbers with the same sum (its floor), the largest remainders up; ties by name."""
    floors = {name: math.floor(quota + 1e-6) for name, quota in quotas.items()}
    left = math.floor(sum(quotas.values()) + 1e-6) - sum(floors.values())
    room = [name for name in quotas if floors[name] < amounts[name]]
    ranked = sorted(room, key=lambda name: (floors[name] - quotas[name], name))
    return {name: float(floor + (name in ranked[:left])) for name, floor in floors.items()}


def lay_into_shards(samples: pl.DataFrame, limits: ShardLimits, *, seed: int) -> pl.DataFrame:
    """Add `shard` (null where not chosen): chosen samples in an order drawn from their ids, cut where a limit would be passed.

    Args:
        samples: `id`, `tokens`, `bytes` (encoded media and text), `chosen`.
    """
    order = pl.Series("order", uniform(samples["id"], seed=seed, purpose="order"))
    placed = samples.with_row_index("place").with_columns(order)
    chosen = placed.filter("chosen").sort("order", "id")
    shards = _cut(chosen["bytes"].to_numpy() + JSON_OVERHEAD, chosen["tokens"].to_numpy(), limits)
    numbered = chosen.select("place", shard=pl.Series(shards, dtype=pl.Int32))
    return placed.join(numbered, on="place", how="left", maintain_order="left").drop("place", "order")


def _cut(sizes: np.ndarray, tokens: np.ndarray, limits: ShardLimits) -> np.ndarray:
    """Shard number of each sample, in order: a new shard where samples, bytes or tokens would go over."""
    shards = np.zeros(len(sizes), dtype=np.int32)
    start = 0
    total_bytes = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    total_tokens = np.concatenate([[0], np.cumsum(tokens, dtype=np.int64)])
    number = 0
    while start < len(sizes):
        by_bytes = int(np.searchsorted(total_bytes, total_bytes[start] + limits.bytes, side="right")) - 1
        by_tokens = int(np.searchsorted(total_tokens, total_tokens[start] + limits.tokens, side="right")) - 1
        end = max(start + 1, min(start + limits.samples, by_bytes, by_tokens))
        shards[start:end] = number
        start, number = end, number + 1
    return shards


def uniform(ids: pl.Series, *, seed: int, purpose: str) -> np.ndarray:
    """A uniform uint64 per sample id (hex), drawn from (seed, purpose, id) only (splitmix64 finaliser)."""
    digests = ids.str.decode("hex").to_arrow().cast(pa.large_binary())
    raw = np.frombuffer(digests.buffers()[2] or b"", dtype="<u8", count=2 * len(ids)).reshape(-1, 2)
    salt = np.uint64(
        int.from_bytes(f"{purpose}:{seed}".encode()[:8].ljust(8, b"."), "little")
        ^ (seed * 0x9E3779B97F4A7C15 & (2**64 - 1))
    )
    mixed = raw[:, 0] ^ salt
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))) ^ raw[:, 1]


def realised(samples: pl.DataFrame, mixture: Mixture | None) -> dict[str, Any]:
    """What was asked for and what came out, per branch, in samples and in tokens."""
    chosen = (
        samples.filter("chosen").group_by("branch").agg(samples=pl.len(), tokens=pl.col("tokens").sum()).sort("branch")
    )
    rows = {name: (count, tokens) for name, count, tokens in chosen.iter_rows()}
    num_samples, num_tokens = sum(r[0] for r in rows.values()) or 1, sum(r[1] for r in rows.values()) or 1
    asked = {} if mixture is None else dict(sorted(mixture.shares().items()))
    return {
        "unit": mixture.unit if mixture else None,
        "asked": {name: round(share, 6) for name, share in asked.items()},
        "samples": {name: round(r[0] / num_samples, 6) for name, r in rows.items()},
        "tokens": {name: round(r[1] / num_tokens, 6) for name, r in rows.items()},
    }
