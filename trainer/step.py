"""Step: one optimizer step over the packs of all ranks.

The loss is the sum of cross-entropies over all ranks and micro-steps, divided by the number of supervised tokens in
all of them: the same whatever the number of ranks or packs. The number is planned from the indexes; what really came
corrects it at the end. One reduction over the ranks carries everything that a step must know, and the host reads the
outcome only when it asks for it.

Shapes: N supervised tokens, S sequences, B branches, C components that train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import AdamW

from model.batch import PackedBatch
from model.videollama3 import VideoLLaMA3
from trainer.loader import LoadedPack
from trainer.parallelize import set_sync
from trainer.update import Average, Guard, apply_update, gradient_squares
from trainer.world import World


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """What one step did, over all ranks. Losses are nats per supervised token; `stop` says that some rank was asked
    to stop; `seen` is a fingerprint of the samples, the same in any order and on any number of ranks.
    """

    loss: float
    grad_norm: float
    tokens: int
    loss_tokens: int
    visual_tokens: int
    pruned: int
    samples: int
    failures: int
    skipped: bool
    stop: bool
    seen: str
    branch_losses: tuple[float, ...]  # B, summed
    branch_tokens: tuple[int, ...]  # B
    component_norms: dict[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class PendingStep:
    """A step whose outcome is still on the device; reading it waits for the step to end."""

    values: Tensor
    branches: int
    components: tuple[str, ...]

    def read(self) -> StepOutcome:
        """Wait and read."""
        values = self.values.tolist()
        losses, numbers = values[: self.branches], values[self.branches : 2 * self.branches]
        rest = values[2 * self.branches :]
        supervised, norms = sum(numbers), rest[9 : 9 + len(self.components)]
        return StepOutcome(
            loss=sum(losses) / supervised if supervised else 0.0,
            grad_norm=sum(norm**2 for norm in norms) ** 0.5,
            tokens=int(rest[0]),
            loss_tokens=int(supervised),
            visual_tokens=int(rest[1]),
            pruned=int(rest[2]),
            samples=int(rest[3]),
            failures=int(rest[4]),
            stop=rest[5] > 0,
            seen=f"{int(rest[6]) % 2**32:08x}{int(rest[7]) % 2**32:08x}",
            skipped=rest[8] > 0,
            branch_losses=tuple(losses),
            branch_tokens=tuple(map(int, numbers)),
            component_norms=dict(zip(self.components, norms, strict=True)),
        )


def train_step(
    model: VideoLLaMA3,
    optimizer: AdamW,
    packs: Sequence[LoadedPack],
    *,
    planned: int,
    branches: int,
    clip: float,
    world: World,
    clip_each: bool = False,
    guard: Guard | None = None,
    average: Average | None = None,
    stop: bool = False,
) -> PendingStep:
    """Forward and backward over this rank's packs, then one update; a step whose gradient is not finite, or that
    `guard` refuses, changes nothing.

    Args:
        planned: supervised tokens of the step over all ranks, as planned.
        branches: number of branches of the dataset.
        clip: largest gradient norm, 0 for none; with `clip_each` of every component by itself.
    """
    sums = torch.zeros(2, branches, dtype=torch.float64, device=world.device)
    for number, loaded in enumerate(packs):
        set_sync(model, last=number == len(packs) - 1)
        owners = branch_of_targets(loaded.batch, loaded.branches).to(world.device, non_blocking=True)
        # Text alone touches the vision encoder too, so that its moments decay alike on any number of ranks.
        result = model.token_losses(loaded.batch.to(world.device), touch_vision=True)
        if result.total.requires_grad:
            (result.total * (world.size / max(1, planned))).backward()
        sums[0].index_add_(0, owners, result.losses.double())
        sums[1].index_add_(0, owners, torch.ones_like(result.losses, dtype=torch.float64))
    counts = torch.tensor(_counts(packs, stop), dtype=torch.float64, device=world.device)
    squares = gradient_squares(optimizer, world.device) / world.replicas
    totals = world.sum(torch.cat([sums.flatten(), counts, squares]))
    losses, numbers = totals[:branches], totals[branches : 2 * branches]
    counts, squares = totals[2 * branches : 2 * branches + len(counts)], totals[2 * branches + len(counts) :]
    supervised = numbers.sum()
    correction = planned / supervised.clamp(min=1)
    norms = squares.sqrt() * correction
    guard = guard or Guard(device=world.device)
    skip = guard.refuses(losses.sum() / supervised.clamp(min=1), norms.square().sum().sqrt()) | (supervised == 0)
    apply_update(optimizer, correction=correction, norms=norms, clip=clip, each=clip_each, skip=skip)
    if average is not None:
        average.update(skip)
    return PendingStep(
        values=torch.cat([losses, numbers, counts, skip.double()[None], norms]),
        branches=branches,
        components=tuple(group["component"] for group in optimizer.param_groups),
    )


def branch_of_targets(batch: PackedBatch, branches: Tensor) -> Tensor:
    """Branch number of each supervised token (N int64), in the order of `batch.predictors`."""
    return branches[torch.searchsorted(batch.cu_seqlens[1:].long(), batch.predictors, right=True)]


def _counts(packs: Sequence[LoadedPack], stop: bool) -> list[float]:
    """Of this rank: tokens, visual tokens, pruned ones, samples, failures, asked to stop, and two halves of the
    fingerprint. Filler packs hold no keys and count nothing.
    """
    real = [loaded for loaded in packs if loaded.keys]
    visual = sum(loaded.batch.num_visual_tokens for loaded in real)
    return [
        sum(len(loaded.batch.tokens) for loaded in real),
        visual,
        sum(len(loaded.batch.keep) for loaded in real) - visual,
        sum(len(loaded.keys) for loaded in real),
        sum(len(loaded.failures) for loaded in packs),
        float(stop),
        *fingerprint([key for loaded in packs for key in loaded.keys]),
    ]


def fingerprint(keys: Sequence[str]) -> tuple[float, float]:
    """Two sums of parts of the keys (32 hex digits); they add up over ranks, exactly for up to two million samples."""
    return (
        float(sum(int(key[:8], 16) for key in keys) % 2**32),
        float(sum(int(key[-8:], 16) for key in keys) % 2**32),
    )
