"""Flops: what a pack costs, counted on real tokens only; padding, recomputation and filler packs are never counted.

    language = 2 P T + 2 H hd L sum(s^2)    attention is causal, so half of 4 H hd s^2
    head     = 2 D V N                      only supervised rows are projected
    vision   = 2 P n + 4 E L sum(p^2) + 2 K E n
    projector= 2 (E D + D^2) q              q visual tokens before pruning
Training costs three forwards of what trains; two of a frozen language model above something that trains (the
gradient passes through); one of a frozen component at the input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.config import ModelConfig
from trainer.stages import Stage


@dataclass(frozen=True, kw_only=True)
class PackCounts:
    """What costs are made of; numbers, or arrays of one number per sample or per pack."""

    tokens: np.ndarray | int
    squares: np.ndarray | int  # sum over sequences of length squared
    loss_tokens: np.ndarray | int
    patches: np.ndarray | int
    frame_squares: np.ndarray | int  # sum over frames of patches squared
    visual_tokens: np.ndarray | int  # before pruning


@dataclass(frozen=True, kw_only=True)
class FlopModel:
    """Floating point operations of a model in training, from its sizes and what trains.

    Source: the matrix products of VideoLLaMA3, arXiv:2501.13106, counted as 2 per multiply and add.
    """

    config: ModelConfig
    trains: tuple[str, ...]
    lora: bool = False  # of the language model only small additions train: its matrices get no gradient

    def forward(self, counts: PackCounts) -> dict[str, np.ndarray]:
        """Flops of one forward pass per component."""
        vision, language = self.config.vision, self.config.language
        vision_layer = 4 * vision.hidden**2 + 2 * vision.hidden * vision.intermediate
        queries, keys = language.heads * language.head_dim, language.kv_heads * language.head_dim
        language_layer = language.hidden * (2 * queries + 2 * keys) + 3 * language.hidden * language.intermediate
        return {
            "vision": np.multiply(
                counts.patches, 2.0 * (vision.layers * vision_layer + vision.patch_values * vision.hidden)
            )
            + np.multiply(counts.frame_squares, 4.0 * vision.hidden * vision.layers),
            "projector": np.multiply(counts.visual_tokens, 2.0 * language.hidden * (vision.hidden + language.hidden)),
            "language": np.multiply(counts.tokens, 2.0 * language.layers * language_layer)
            + np.multiply(counts.squares, 2.0 * queries * language.layers)
            + np.multiply(counts.loss_tokens, 2.0 * language.hidden * language.vocab),
        }

    def training(self, counts: PackCounts) -> np.ndarray:
        """Flops of one forward and backward pass."""
        flops = self.forward(counts)
        total, below_trains = np.zeros(()), False
        for component in ("vision", "projector", "language"):  # in the order in which data flows
            trains = component in self.trains
            whole = trains and not (self.lora and component == "language")
            total = total + flops[component] * (3 if whole else 2 if trains or below_trains else 1)
            below_trains = below_trains or trains
        return np.asarray(total, np.float64)


def flop_model(config: ModelConfig, stage: Stage) -> FlopModel:
    """What a stage costs."""
    return FlopModel(config=config, trains=tuple(sorted(stage.rates)), lora=stage.lora > 0)
