"""Optimizer: AdamW with one group per component that trains, and the schedule of its rates."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.optim import AdamW

from model.videollama3 import VideoLLaMA3
from trainer.stages import COMPONENTS, Stage


def component_of(name: str) -> str:
    """The component that a parameter belongs to, by its name in the state dict."""
    if name.startswith("model.vision_model."):
        return "vision"
    return "projector" if name.startswith("model.projector.") else "language"


def set_trainable(model: nn.Module, stage: Stage) -> None:
    """Freeze what the stage does not train."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(stage.trains(component_of(name)))


def make_optimizer(model: VideoLLaMA3, stage: Stage) -> AdamW:
    """AdamW over what trains, its state already there, so that a checkpoint can be read into it.

    Groups of frozen components do not exist: an empty one has no state in a checkpoint and fails to resume.
    """
    groups = []
    for component in COMPONENTS:
        parameters = [p for name, p in model.named_parameters() if p.requires_grad and component_of(name) == component]
        if parameters:
            groups.append(
                {
                    "params": parameters,
                    "lr": stage.rates[component],
                    "peak": stage.rates[component],
                    "component": component,
                }
            )
    optimizer = AdamW(groups, betas=stage.betas, eps=stage.epsilon, weight_decay=stage.weight_decay, fused=True)
    for parameter in trained(optimizer):
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def trained(optimizer: AdamW) -> Iterator[nn.Parameter]:
    """Every parameter of the optimizer."""
    for group in optimizer.param_groups:
        yield from group["params"]


def rate_share(step: int, *, total: int, warmup: float) -> float:
    """Share of the peak rate at a step: linear warm-up, then a cosine to 0 at `total`."""
    rising = math.ceil(total * warmup)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def set_rates(optimizer: AdamW, share: float) -> None:
    """Every group to this share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
