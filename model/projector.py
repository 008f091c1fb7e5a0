"""Projector: from vision width to language width, two linear layers with an exact GELU between.

Source: VideoLLaMA3, arXiv:2501.13106.
"""

from __future__ import annotations

from torch import Tensor, nn


class Projector(nn.Module):
    """Map merged features [Q, E] to visual tokens [Q, D]."""

    def __init__(self, vision: int, language: int) -> None:
        super().__init__()
        self.readout = nn.Sequential(nn.Linear(vision, language), nn.GELU(), nn.Linear(language, language))

    def forward(self, features: Tensor) -> Tensor:
        """Q E -> Q D."""
        return self.readout(features)
