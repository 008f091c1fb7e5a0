"""Aligned detail: whether two thumbnails show the same picture, once one is shifted and scaled onto the other.

Cropping moves everything in a picture; a few Gauss-Newton steps find the shift and the scale per axis that undo it.
What is then compared is fine detail, each cell minus its surroundings: two pictures of the same layout (pages, charts,
portraits) agree coarsely and not in detail.

Shapes: N pairs, S side of a thumbnail; a placement is [N, 4] = (row scale, row shift, column scale, column shift) in
shares of a side: the place in the right picture of what the left one shows.
"""

import cv2
import numpy as np

_STEPS, _MAX_STEP = 8, 0.05
_LOWEST = np.array([0.75, -0.25, 0.75, -0.25], np.float32)
_HIGHEST = np.array([1.33, 0.25, 1.33, 0.25], np.float32)
_PAIRS = 2048  # per round, some 150 MiB


def aligned_detail(left: np.ndarray, right: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Correlation of detail after alignment, float32 [N] in [-1, 1]; uint8 thumbnails [N, S, S], first guesses [N, 4]."""
    pieces = [
        _detail(
            left[i : i + _PAIRS].astype(np.float32), right[i : i + _PAIRS].astype(np.float32), start[i : i + _PAIRS]
        )
        for i in range(0, len(left), _PAIRS)
    ]
    return np.concatenate(pieces) if pieces else np.empty(0, np.float32)


def align(left: np.ndarray, right: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Where the right pictures show what the left ones do, float32 [N, 4]; as `aligned_detail`."""
    pieces = [
        _align(*(each[i : i + _PAIRS].astype(np.float32) for each in (left, right, start)))
        for i in range(0, len(left), _PAIRS)
    ]
    return np.concatenate(pieces) if pieces else np.empty((0, 4), np.float32)


def _detail(left: np.ndarray, right: np.ndarray, start: np.ndarray) -> np.ndarray:
    placed, inside = place_on(right, _align(left, right, start.astype(np.float32)))
    return np.einsum("nij,nij->n", _unit(_fine(left), inside), _unit(_fine(placed), inside))


def _align(left: np.ndarray, right: np.ndarray, placement: np.ndarray) -> np.ndarray:
    """The placement with the highest correlation on the way of the Gauss-Newton steps."""
    side = left.shape[-1]
    at = (np.arange(side, dtype=np.float32) + 0.5) / side
    best = np.full(len(left), -2, np.float32)
    kept = placement.copy()
    for _ in range(_STEPS):
        placed, inside = place_on(right, placement)
        target, shown = _unit(left, inside), _unit(placed, inside)
        correlation = np.einsum("nij,nij->n", target, shown)
        better = correlation > best
        best[better], kept[better] = correlation[better], placement[better]
        scale = side / np.maximum(_spread(placed, inside), 1e-3)[:, None, None] * inside
        down, across = np.gradient(placed, axis=1) * scale, np.gradient(placed, axis=2) * scale
        slopes = np.stack([down * at[:, None], down, across * at, across], axis=-1).reshape(len(left), -1, 4)
        error = (target - shown).reshape(len(left), -1, 1)
        normal = slopes.transpose(0, 2, 1) @ slopes + np.float32(1e-4) * np.eye(4, dtype=np.float32)
        step = np.linalg.solve(normal, slopes.transpose(0, 2, 1) @ error)[:, :, 0]
        placement = np.clip(kept + np.clip(step, -_MAX_STEP, _MAX_STEP), _LOWEST, _HIGHEST)
    return kept


def place_on(pictures: np.ndarray, placement: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures sampled bilinearly at a placement, and which cells lie inside them (as 0 and 1)."""
    side = pictures.shape[-1]
    at = (np.arange(side, dtype=np.float32) + 0.5) / side
    y = (placement[:, 0:1] * at + placement[:, 1:2]) * side - 0.5
    x = (placement[:, 2:3] * at + placement[:, 3:4]) * side - 0.5
    inside = ((y >= -0.5) & (y <= side - 0.5))[:, :, None] & ((x >= -0.5) & (x <= side - 0.5))[:, None, :]
    rows, columns = _weights(y, side), _weights(x, side)
    return rows @ pictures @ columns.transpose(0, 2, 1), inside.astype(np.float32)


def _weights(at: np.ndarray, side: int) -> np.ndarray:
    """Linear interpolation at positions [N, S] as matrices [N, S, S]."""
    return np.maximum(0, 1 - np.abs(np.clip(at, 0, side - 1)[:, :, None] - np.arange(side, dtype=np.float32)))


def _fine(pictures: np.ndarray) -> np.ndarray:
    return pictures - np.stack([cv2.blur(picture, (5, 5)) for picture in pictures])


def _centred(pictures: np.ndarray, inside: np.ndarray) -> np.ndarray:
    count = np.maximum(inside.sum(axis=(1, 2)), 1)
    mean = (pictures * inside).sum(axis=(1, 2)) / count
    return (pictures - mean[:, None, None]) * inside


def _spread(pictures: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return np.sqrt((_centred(pictures, inside) ** 2).sum(axis=(1, 2)))


def _unit(pictures: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Mean 0 and length 1 over the cells inside."""
    centred = _centred(pictures, inside)
    return centred / np.maximum(np.sqrt((centred**2).sum(axis=(1, 2))), 1e-3)[:, None, None]
