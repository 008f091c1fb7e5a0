"""Loss: cross-entropy of a linear head without its logits ever existing all at once.

Shapes: N supervised positions, D language width, V vocabulary.

The rows go through the head chunk by chunk, and their gradients are made in the forward pass while a chunk's
probabilities exist, so that the backward pass only scales them. Sums are in fp32 whatever the type of the model.
Source: the idea is that of Liger Kernel, arXiv:2410.10989.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK_VALUES = {"cpu": 1 << 24, "cuda": 1 << 28}  # logits of one chunk: 64 MiB and 1 GiB in fp32
_MIN_ROWS = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenLosses:
    """What is known of each supervised token; only `total` carries a gradient."""

    total: Tensor  # scalar fp32: summed cross-entropy, and z-loss if asked for
    losses: Tensor  # N fp32: cross-entropy of each
    correct: Tensor  # N bool: the target has the highest logit


def linear_cross_entropy(
    hidden: Tensor,  # N D
    weight: Tensor,  # V D
    targets: Tensor,  # N int64 in 0..V-1
    *,
    z_loss: float = 0.0,
    max_rows: int | None = None,
) -> TokenLosses:
    """Summed cross-entropy of softmax(hidden weight^T) against targets, plus z_loss * sum of squared log-normalisers.

    `max_rows` bounds the rows of logits alive at a time; None picks by vocabulary and device. No rows give a zero that
    still reaches `hidden` and `weight`, so that a pack without supervision runs the same backward pass.
    Source of the z-loss: PaLM, arXiv:2204.02311 (1e-4).
    """
    if max_rows is None:
        budget = _CHUNK_VALUES.get(hidden.device.type, _CHUNK_VALUES["cpu"])
        max_rows = max(_MIN_ROWS, budget // weight.shape[0])
    if torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    grads = torch.is_grad_enabled()
    wants = (grads and hidden.requires_grad, grads and weight.requires_grad)
    total, losses, correct = _LinearCrossEntropy.apply(hidden, weight, targets, z_loss, max_rows, wants)  # pyright: ignore[reportGeneralTypeIssues]
    return TokenLosses(total=total, losses=losses, correct=correct)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        z_loss: float,
        max_rows: int,
        wants: tuple[bool, bool],
    ) -> tuple[Tensor, Tensor, Tensor]:
        matrix = weight.to(hidden.dtype)
        grad_hidden = torch.zeros_like(hidden) if wants[0] else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants[1] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        correct = torch.empty(len(hidden), dtype=torch.bool, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), max_rows):
                rows = slice(start, start + max_rows)
                chunk, target = hidden[rows], targets[rows, None]
                logits = (chunk @ matrix.T).float()  # n V
                peak = logits.amax(dim=1, keepdim=True)
                goal = logits.gather(1, target)
                exponentials = logits.sub_(peak).exp_()
                mass = exponentials.sum(dim=1, keepdim=True)
                normaliser = peak + mass.log()  # n 1
                losses[rows] = (normaliser - goal)[:, 0]
                correct[rows] = (goal == peak)[:, 0]
                total += losses[rows].sum() + z_loss * normaliser.square().sum()
                if grad_hidden is None and grad_weight is None:
                    continue
                slopes = exponentials.mul_((1 + 2 * z_loss * normaliser) / mass)
                slopes.scatter_add_(1, target, torch.full_like(goal, -1.0))
                slopes = slopes.to(hidden.dtype)
                if grad_hidden is not None:
                    grad_hidden[rows] = slopes @ matrix
                if grad_weight is not None:
                    _accumulate(grad_weight, slopes, chunk)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        ctx.mark_non_differentiable(losses, correct)
        return total, losses, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        # In place, to hold one copy of a vocabulary-sized gradient. A second backward pass is refused by autograd,
        # which sees that saved tensors have changed.
        grad_hidden, grad_weight = ctx.saved_tensors
        grad_total = grads[0]
        if grad_hidden is not None:
            grad_hidden.mul_(grad_total)
        if grad_weight is not None:
            grad_weight = grad_weight.mul_(grad_total).to(ctx.weight_dtype)
        return grad_hidden, grad_weight, None, None, None, None


def _accumulate(sum_: Tensor, slopes: Tensor, rows: Tensor) -> None:
    """sum_ += slopes^T rows, in fp32."""
    if slopes.dtype == torch.float32:
        sum_.addmm_(slopes.T, rows)
    else:
        sum_.add_(slopes.T @ rows)  # the product has 16 bits, the sum over chunks 32
