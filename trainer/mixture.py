"""Mixture: how often each sample is seen in an epoch, by its branch.

Curation has already realised the mixture that its recipe asks for, so that 1 everywhere is the default. Repetitions
need not be whole: at 0.3 every epoch shows another 30 % of the branch, and ten epochs show each sample three times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from trainer.dataset import Catalogue
from trainer.errors import UsageError
from trainer.stages import Stage


def repetitions(shares: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    """Repetitions that give each branch its share of the epoch, where no branch is repeated more than needed.

    Args:
        shares: wanted share per branch, any scale.
        sizes: what a branch holds, in samples or in tokens: the unit of the shares.

    The branch that is the largest relative to its share is seen once; the others are repeated up to it.
    """
    wanted = {name: share for name, share in shares.items() if share}
    if set(shares) != set(sizes) or not all(sizes[name] for name in wanted) or not wanted:
        raise UsageError(
            f"mixture: shares name {sorted(shares)}, the shards hold {dict(sizes)}: name every branch once, with 0 for one "
            "that is to be left out"
        )
    scale = max(sizes[name] / share for name, share in wanted.items())
    return {name: share * scale / sizes[name] if share else 0.0 for name, share in shares.items()}


def with_repeats(stage: Stage, catalogue: Catalogue) -> Stage:
    """The stage with the repetitions that its mixture asks for, by the manifests' counts."""
    if not stage.mixture:
        return stage
    sizes = {name: counts[stage.mixture_by] for name, counts in catalogue.totals.items()}
    return replace(stage, mixture={}, repeats=repetitions(stage.mixture, sizes))


def draw(
    branch: np.ndarray, names: Sequence[str], repeats: Mapping[str, float], *, phase: np.ndarray, epoch: int
) -> np.ndarray:
    """Sample numbers of one epoch, ascending, a sample as often as it is seen.

    Over the first n epochs a sample is seen within one of n x its branch's repetitions.

    Args:
        phase: a random number in [0, 1) per sample, the same in every epoch, so that the epochs complement each other.
    """
    if unknown := sorted(set(repeats) - set(names)):
        raise UsageError(f"repeat: the shards hold no branch {', '.join(unknown)}; they hold {', '.join(names)}")
    rate = np.array([repeats.get(name, 1.0) for name in names], dtype=np.float64)[branch]
    times = np.floor((epoch + 1) * rate + phase) - np.floor(epoch * rate + phase)
    return np.repeat(np.arange(len(branch)), times.astype(np.int64))
