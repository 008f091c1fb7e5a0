"""Aesthetic: a linear head on the small encoder that tells sound pictures from spoilt ones, in LAION's scale of 1 to 10.

Shapes: N pictures, D width of the embedding.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from curation.neural import EncoderSpec
from curation.sources.synthetic import scenes
from curation.sources.synthetic.looks import LOOKS, spoil

GOOD, BAD = 7.0, 3.0  # what the head is fitted to


def pictures(seed: str, count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Scenes, half of them spoilt, and which [N]."""
    rng = random.Random(seed)
    spoilt = np.array([number % 2 == 1 for number in range(count)])
    shown = []
    for bad in spoilt:
        image = scenes.draw_scene(scenes.make_scene(rng))
        shown.append(np.asarray(spoil(image, rng.choice(LOOKS), rng) if bad else image))
    return shown, spoilt


def fit(encoder: EncoderSpec, path: Path, *, count: int = 3000, ridge: float = 1e-3) -> None:
    """Least squares with a ridge; written as a linear layer's state_dict."""
    from safetensors.numpy import save_file

    shown, spoilt = pictures("aesthetic training", count)
    vectors = np.stack(list(encoder.load().pictures(lambda p=p: p for p in shown))).astype(np.float64)  # pyright: ignore[reportCallIssue, reportArgumentType]
    mean, targets = vectors.mean(axis=0), np.where(spoilt, BAD, GOOD)
    centred = vectors - mean
    weight = np.linalg.solve(
        centred.T @ centred + ridge * count * np.eye(centred.shape[1]), centred.T @ (targets - targets.mean())
    )
    bias = targets.mean() - mean @ weight
    save_file({"weight": weight[None].astype(np.float32), "bias": np.array([bias], np.float32)}, path)
