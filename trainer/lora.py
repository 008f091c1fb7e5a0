"""Lora: low-rank additions to the frozen matrices of the language model; merged into them for whoever comes after.

Source: LoRA, arXiv:2106.09685: W + (alpha / r) B A with A random and B zero, so that training starts from W; alpha is
twice the rank, the field's habit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.videollama3 import VideoLLaMA3

SCALE = 2.0  # alpha / r


class LoraLinear(nn.Linear):
    """A linear layer with a low-rank addition; its own weight keeps its name. A is `lora_a` [r, in], B `lora_b`
    [out, r].
    """

    lora_a: nn.Parameter
    lora_b: nn.Parameter

    def forward(self, input: Tensor) -> Tensor:
        """... in -> ... out."""
        return super().forward(input) + F.linear(F.linear(input, self.lora_a), self.lora_b) * SCALE


def add_lora(model: VideoLLaMA3, rank: int, *, seed: int = 0) -> None:
    """Turn every linear layer of the language model's blocks into one with an addition, in place; the same for the
    same seed.
    """
    random = torch.Generator().manual_seed(seed)
    for layer in list(_linears(model)):
        layer.__class__ = LoraLinear
        bound = 1 / math.sqrt(layer.in_features)
        start = torch.empty(rank, layer.in_features).uniform_(-bound, bound, generator=random)
        layer.lora_a = nn.Parameter(start.to(layer.weight))
        layer.lora_b = nn.Parameter(torch.zeros(layer.out_features, rank, device=layer.weight.device))


def merge_lora(model: VideoLLaMA3) -> None:
    """Add what was learnt to the matrices and forget the additions, in place."""
    for layer in _linears(model):
        if isinstance(layer, LoraLinear):
            with torch.no_grad():
                layer.weight += SCALE * (layer.lora_b @ layer.lora_a)
            del layer.lora_a, layer.lora_b
            layer.__class__ = nn.Linear  # pyright: ignore[reportAttributeAccessIssue]  # the class it had


def _linears(model: VideoLLaMA3) -> Iterator[nn.Linear]:
    return (part for part in model.language.layers.modules() if isinstance(part, nn.Linear))
