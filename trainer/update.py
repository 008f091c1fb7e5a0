"""Update: gradients to weights, decided on the device: scaled, clipped, applied or skipped, without the host waiting.

All ranks see the same sums, so all apply a step or none. A skipped step leaves weights, moments and averages alone.

Shapes: C components that train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW

SPIKE_WINDOW = 128  # steps that a spike is measured against; none is called before half of them are there


@dataclass(kw_only=True)
class Guard:
    """Finite losses and gradient norms of the last steps, on the device. `sigmas` 0 calls nothing a spike.

    Source: OLMo 2, arXiv:2501.00656, and its code (a step more than 6 deviations above the mean of 128 is skipped).
    """

    device: torch.device
    sigmas: float = 0.0
    history: Tensor = field(init=False)  # 2 SPIKE_WINDOW: losses, norms
    count: Tensor = field(init=False)  # scalar

    def __post_init__(self) -> None:
        self.history = torch.zeros(2, SPIKE_WINDOW, dtype=torch.float64, device=self.device)
        self.count = torch.zeros((), dtype=torch.int64, device=self.device)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, in place."""
        return {"history": self.history, "count": self.count}

    def refuses(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Whether a step is to be skipped (bool scalar); a finite one enters the history either way."""
        now = torch.stack([loss, norm])
        finite = now.isfinite().all()
        known = torch.arange(SPIKE_WINDOW, device=self.device) < self.count
        number = known.sum().clamp(min=1)
        mean = (self.history * known).sum(dim=1) / number
        deviation = (((self.history - mean[:, None]) ** 2 * known).sum(dim=1) / number).sqrt()
        spike = (now > mean + self.sigmas * deviation).any() & (self.count >= SPIKE_WINDOW // 2)
        place = (self.count % SPIKE_WINDOW)[None]
        kept = torch.where(finite, now, self.history.index_select(1, place)[:, 0])
        self.history.index_copy_(1, place, kept[:, None])
        self.count += finite
        return ~finite | (spike if self.sigmas else torch.zeros_like(spike))


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gradient_squares(optimizer: AdamW, device: torch.device) -> Tensor:
    """Sum of squares of this rank's part of the gradients, per group of the optimizer (C float64).

    In double precision: single loses the fifth digit over an embedding table, and by another amount on each number of
    ranks.
    """
    sums = []
    for group in optimizer.param_groups:
        grads = [local(p.grad) for p in group["params"] if p.grad is not None]
        norms = torch._foreach_norm(grads, 2, dtype=torch.float64) if grads else []  # pyright: ignore[reportPrivateImportUsage]
        sums.append(torch.stack(list(norms)).square().sum() if grads else torch.zeros((), dtype=torch.float64))
    return torch.stack([one.to(device) for one in sums])


def apply_update(optimizer: AdamW, *, correction: Tensor, norms: Tensor, clip: float, each: bool, skip: Tensor) -> None:
    """Scale by `correction`, clip to `clip` (0: not), step unless `skip`, and clear the gradients.

    Args:
        norms: gradient norm per group after the correction (C).
        each: clip every component by its own norm; else all by the norm of everything.
    """
    total = norms if each else norms.square().sum().sqrt().expand_as(norms)
    factors = correction * (clip / (total + 1e-6)).clamp(max=1.0) if clip else correction.expand_as(norms)
    for group, factor in zip(optimizer.param_groups, factors.float().unbind(), strict=True):
        if grads := [local(p.grad) for p in group["params"] if p.grad is not None]:
            torch._foreach_mul_(grads, factor)  # pyright: ignore[reportPrivateImportUsage]
    optimizer.grad_scale = None  # pyright: ignore[reportAttributeAccessIssue]  # read by torch's fused kernel
    optimizer.found_inf = skip.float()  # pyright: ignore[reportAttributeAccessIssue]  # 1 makes the kernel do nothing
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


class Average:
    """Exponential moving average of what trains: fp32, sharded as the weights are, by parameter name."""

    def __init__(self, parameters: Sequence[tuple[str, nn.Parameter]], *, decay: float) -> None:
        self.decay = decay
        self._parameters = dict(parameters)
        self.weights = {name: parameter.detach().clone() for name, parameter in parameters}

    def update(self, skip: Tensor) -> None:
        """Move towards the weights after a step that was not skipped."""
        share = torch.where(skip, 0.0, 1.0 - self.decay)
        for name, average in self.weights.items():
            local(average).lerp_(local(self._parameters[name].detach()), share.to(average.dtype))
