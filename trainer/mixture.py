"""Mixture: how often each sample is seen in an epoch, by its branch.

Curation has already realised the mixture that its recipe asks for, so that 1 everywhere is the default. Repetitions
need not be whole: at 0.3 every epoch shows another 30 % of the branch, and ten epochs show each sample three times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trainer.errors import UsageError


def repetitions(shares: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    """Repetitions that give each branch its share of the epoch, where no branch is repeated more than needed.

    Args:
        shares: wanted share per branch, any scale.
        sizes: what a branch holds, in samples or in tokens: the unit of the shares.

    The branch that is the largest relative to its share is seen once; the others are repeated up to it.
    """
    if missing := sorted(set(shares) ^ set(sizes)):
        raise UsageError(
            f"mixture: shares name {sorted(shares)}, the shards hold {sorted(sizes)}: name every branch once "
            f"({missing})"
        )
    scale = max(sizes[name] / share for name, share in shares.items())
    return {name: share * scale / sizes[name] for name, share in shares.items()}


def draw(
    branch: np.ndarray, names: Sequence[str], repeats: Mapping[str, float], *, seed: int, epoch: int
) -> np.ndarray:
    """Sample numbers of one epoch, ascending, a sample as often as it is seen.

    Over the first n epochs a sample is seen within one of n x its branch's repetitions.
    """
    if unknown := sorted(set(repeats) - set(names)):
        raise UsageError(f"repeat: the shards hold no branch {', '.join(unknown)}; they hold {', '.join(names)}")
    rate = np.array([repeats.get(name, 1.0) for name in names], dtype=np.float64)[branch]
    phase = np.random.default_rng([seed, 1]).random(
        len(branch)
    )  # the same in every epoch, so that the epochs complement each other
    times = np.floor((epoch + 1) * rate + phase) - np.floor(epoch * rate + phase)
    return np.repeat(np.arange(len(branch)), times.astype(np.int64))
