"""Packing: samples into packs that hold at most so many language tokens and so many vision patches.

Best-fit decreasing in two dimensions, many windows at once: the k-th largest sample of every window is placed in one
numpy step.

Shapes: W windows, B bins of a window, N samples.
"""

from __future__ import annotations

import numpy as np

FULL = 0.97  # packs below are opened again in the second pass


def pack_windows(
    tokens: np.ndarray, patches: np.ndarray, *, max_tokens: int, max_patches: int, window: int
) -> np.ndarray:
    """Pack number of each sample (N int64), numbered from 0 without gaps.

    Samples of `window` consecutive places go into the same packs; what is left in packs that did not fill up is
    packed once more with the leftovers of other windows. Every sample must fit a pack by itself.
    """
    packs = _pack(tokens, patches, max_tokens=max_tokens, max_patches=max_patches, window=window)
    if len(tokens) > window:
        sums = np.bincount(packs, tokens) / max_tokens, np.bincount(packs, patches) / max_patches
        open_packs = np.maximum(*sums) < FULL
        left = np.flatnonzero(open_packs[packs])
        again = _pack(tokens[left], patches[left], max_tokens=max_tokens, max_patches=max_patches, window=window)
        packs[left] = again + packs.max(initial=-1) + 1
    return np.unique(packs, return_inverse=True)[1]


def _pack(tokens: np.ndarray, patches: np.ndarray, *, max_tokens: int, max_patches: int, window: int) -> np.ndarray:
    """One pass of best fit; packs of window w come before those of window w + 1."""
    if not len(tokens):
        return np.zeros(0, np.int64)
    window = min(window, len(tokens))
    num_windows = -(-len(tokens) // window)
    shares = np.zeros((2, num_windows * window))  # a place without a sample costs nothing and lands anywhere
    shares[0, : len(tokens)] = tokens / max_tokens
    shares[1, : len(tokens)] = patches / max_patches
    shares = shares.reshape(2, num_windows, window)
    order = np.argsort(-shares.max(axis=0), axis=1, kind="stable")  # W window
    place = np.empty((num_windows, window), np.int64)
    free = np.ones((2, num_windows, _bins_needed(shares)))
    rows = np.arange(num_windows)
    for column in order.T:
        sample = shares[:, rows, column][:, :, None]
        free, bins = _best_bin(free, sample)
        free[:, rows, bins] -= sample[:, :, 0]
        place[rows, column] = bins
    numbers = place + rows[:, None] * free.shape[2]
    return np.unique(numbers.reshape(-1)[: len(tokens)], return_inverse=True)[1]


def _best_bin(free: np.ndarray, sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per window the bin that the sample leaves the least room in; untouched bins have the most room, so they come
    last.
    """
    left = free - sample  # 2 W B
    room = left.sum(axis=0)
    room[left.min(axis=0) < -1e-9] = np.inf
    bins = room.argmin(axis=1)
    if np.isinf(room[np.arange(len(bins)), bins]).any():  # a window has no bin left: give all some more
        more = np.ones((2, free.shape[1], max(4, free.shape[2] // 4)))
        return _best_bin(np.concatenate([free, more], axis=2), sample)
    return free, bins


def _bins_needed(shares: np.ndarray) -> int:
    """Bins of the fullest window if packing were perfect."""
    return max(1, int(np.ceil(shares.sum(axis=2).max())))
