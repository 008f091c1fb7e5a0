"""Optimizer: AdamW with one group per component that trains, and the schedule of its rates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from model.videollama3 import VideoLLaMA3
from trainer.stages import COMPONENTS, Stage
from trainer.update import local


def component_of(name: str) -> str:
    """The component that a parameter belongs to, by its name in the state dict."""
    if name.startswith("model.vision_model."):
        return "vision"
    return "projector" if name.startswith("model.projector.") else "language"


def set_trainable(model: nn.Module, stage: Stage) -> None:
    """Freeze what the stage does not train; with low-rank additions all of the language model but them."""
    for name, parameter in model.named_parameters():
        component = component_of(name)
        whole = component != "language" or not stage.lora or ".lora_" in name
        parameter.requires_grad_(stage.trains(component) and whole)


def trained_by_name(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters that train, with their names."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


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
    options = {"betas": stage.betas, "eps": stage.epsilon, "weight_decay": stage.weight_decay}
    optimizer = HalfMomentsAdamW(groups, **options) if stage.half_moments else AdamW(groups, fused=True, **options)
    kind = torch.bfloat16 if stage.half_moments else None
    for parameter in trained(optimizer):
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter, dtype=kind),
            "exp_avg_sq": torch.zeros_like(parameter, dtype=kind),
        }
    return optimizer


class HalfMomentsAdamW(AdamW):
    """AdamW that keeps its moments in bf16 and computes in fp32: 12 instead of 16 bytes per parameter with its weight
    and gradient, so that the 7B fits one 141 GB device.

    The second moment changes by a thousandth a step, less than bf16 can tell apart, so it is rounded up or down at
    random in proportion (seeded by the step: nothing to save). Results depend on the number of ranks in the last bits
    of the moments.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # noqa: ARG002  # pyright: ignore[reportIncompatibleMethodOverride]  # torch's signature
        """One update of everything, unless `found_inf` says that it is to be skipped."""
        skip = self.found_inf > 0  # pyright: ignore[reportAttributeAccessIssue]  # set by trainer.update
        for group in self.param_groups:
            for number, parameter in enumerate(group["params"]):
                if parameter.grad is not None:
                    self._move(parameter, group, skip, seed=group.get("number", 0) * 100_003 + number)

    def _move(self, parameter: nn.Parameter, group: dict[str, Any], skip: Tensor, *, seed: int) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        weight, grad = local(parameter), local(parameter.grad)  # pyright: ignore[reportArgumentType]
        first, second = local(state["exp_avg"]), local(state["exp_avg_sq"])
        state["step"] += (~skip).float()
        mean = first.float().lerp_(grad, 1 - beta1)
        square = second.float().mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        scale = (1 - beta2 ** state["step"]).sqrt()
        change = mean / (square.sqrt() / scale + group["eps"]) / (1 - beta1 ** state["step"])
        moved = weight * (1 - group["lr"] * group["weight_decay"]) - group["lr"] * change
        weight.copy_(torch.where(skip, weight, moved))
        first.copy_(torch.where(skip, first, mean.bfloat16()))
        random = torch.Generator(weight.device).manual_seed(seed)
        second.copy_(torch.where(skip, second, round_at_random(square, random)))


def round_at_random(values: Tensor, random: torch.Generator) -> Tensor:
    """fp32 to one of the two nearest bf16 numbers, the nearer one more often, so that the mean is kept."""
    noise = torch.randint(0, 1 << 16, values.shape, dtype=torch.int32, device=values.device, generator=random)
    return (values.view(torch.int32) + noise).bitwise_and_(-(1 << 16)).view(torch.float32).bfloat16()


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


def set_rates(optimizer: AdamW, share: float, *, step: int = 0) -> None:
    """Every group to this share of its peak, for this step."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
        group["number"] = step
