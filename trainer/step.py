"""Step: one optimizer step over the packs of all ranks.

The loss is the sum of cross-entropies over all ranks and micro-steps, divided by the number of supervised tokens in
all of them: the same whatever the number of ranks or packs. The number is planned from the indexes; what really came
corrects it at the end.

Shapes: N supervised tokens, S sequences, B branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm
from torch.optim import AdamW

from model.batch import PackedBatch
from model.videollama3 import VideoLLaMA3
from trainer.loader import LoadedPack
from trainer.optimizer import trained
from trainer.parallelize import set_sync
from trainer.world import World


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """What one step did, over all ranks. Losses are nats per supervised token; `stop` says that some rank was asked
    to stop.
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
    branch_losses: tuple[float, ...]  # B, summed
    branch_tokens: tuple[int, ...]  # B


def train_step(
    model: VideoLLaMA3,
    optimizer: AdamW,
    packs: Sequence[LoadedPack],
    *,
    planned: int,
    branches: int,
    clip: float,
    world: World,
    stop: bool = False,
) -> StepOutcome:
    """Forward and backward over this rank's packs, then one update; a step whose gradient is not finite changes
    nothing.

    Args:
        planned: supervised tokens of the step over all ranks, as planned.
        branches: number of branches of the dataset.
        clip: largest gradient norm, 0 for none.
    """
    sums = torch.zeros(2, branches, dtype=torch.float64, device=world.device)
    for number, loaded in enumerate(packs):
        set_sync(model, last=number == len(packs) - 1)
        owners = branch_of_targets(loaded.batch, loaded.branches).to(world.device, non_blocking=True)
        result = model.token_losses(loaded.batch.to(world.device), touch_vision=world.size > 1)
        if result.total.requires_grad:  # a text pack under a frozen language model has nothing to teach
            (result.total * (world.size / max(1, planned))).backward()
        sums[0].index_add_(0, owners, result.losses.double())
        sums[1].index_add_(0, owners, torch.ones_like(result.losses, dtype=torch.float64))
    counts = torch.tensor(_counts(packs, stop), dtype=torch.float64, device=world.device)
    totals = world.sum(torch.cat([sums.flatten(), counts])).tolist()
    losses, numbers, rest = totals[:branches], totals[branches : 2 * branches], totals[2 * branches :]
    supervised = sum(numbers)
    norm = _update(optimizer, correction=planned / supervised if supervised else 0.0, clip=clip)
    return StepOutcome(
        loss=sum(losses) / supervised if supervised else 0.0,
        grad_norm=norm,
        tokens=int(rest[0]),
        loss_tokens=int(supervised),
        visual_tokens=int(rest[1]),
        pruned=int(rest[2]),
        samples=int(rest[3]),
        failures=int(rest[4]),
        skipped=not supervised or not _finite(norm),
        stop=rest[5] > 0,
        branch_losses=tuple(losses),
        branch_tokens=tuple(map(int, numbers)),
    )


def branch_of_targets(batch: PackedBatch, branches: Tensor) -> Tensor:
    """Branch number of each supervised token (N int64), in the order of `batch.predictors`."""
    return branches[torch.searchsorted(batch.cu_seqlens[1:].long(), batch.predictors, right=True)]


def _update(optimizer: AdamW, *, correction: float, clip: float) -> float:
    """Scale, clip and apply the gradients; returns their norm before clipping. All ranks see the same norm, so all
    skip or none.
    """
    grads = [parameter.grad for parameter in trained(optimizer) if parameter.grad is not None]
    total = get_total_norm(grads) if grads else torch.zeros(())
    norm = float(total.full_tensor() if isinstance(total, DTensor) else total) * correction
    if grads and _finite(norm) and correction:
        factor = correction * (min(1.0, clip / (norm + 1e-6)) if clip else 1.0)
        for grad in grads:
            grad.mul_(factor)
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def _counts(packs: Sequence[LoadedPack], stop: bool) -> list[float]:
    """Of this rank: tokens, visual tokens, pruned ones, samples, failures, asked to stop. Filler packs hold no keys
    and count nothing.
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
    ]


def _finite(value: float) -> bool:
    return value - value == 0.0
