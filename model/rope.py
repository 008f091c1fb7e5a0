"""Rope: rotary positions, in two dimensions for patches and in one for tokens.

Shapes: T packed positions, P patches, N heads, H head width. A table holds H / 2 angles: entry i turns the pair
(i, i + H / 2), so cosines and sines are never stored twice.

Source: RoFormer, arXiv:2104.09864; VideoLLaMA3, arXiv:2501.13106 (rows turn the first half of the pairs, columns the
second; coordinates are plain integers from 0, the same in every frame; no rotation in time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """Cosines and sines of one pack, shared by all layers.

    A value of its own, not a tuple: FSDP casts bare tensors among a block's arguments, these keep their type.
    """

    cosines: Tensor  # T 1 H/2
    sines: Tensor  # T 1 H/2


@lru_cache(maxsize=2048)
def patch_coordinates(rows: int, columns: int, merge: int) -> Tensor:  # rows*columns 2 int32
    """Row and column of each patch of one frame, in patch order: merge windows in raster order, raster inside each."""
    cells = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), dim=-1)
    windows = cells.view(rows // merge, merge, columns // merge, merge, 2).transpose(1, 2)
    return windows.reshape(rows * columns, 2).to(torch.int32)


def media_coordinates(media: Sequence[tuple[Sequence[int], int]]) -> Tensor:  # P 2 int32
    """Coordinates of all patches of ((frames, rows, columns), merge) media, end to end."""
    frames = [patch_coordinates(rows, columns, merge).repeat(t, 1) for (t, rows, columns), merge in media]
    return torch.cat(frames) if frames else torch.zeros(0, 2, dtype=torch.int32)


def axial_tables(coordinates: Tensor, *, width: int, theta: float) -> Tables:
    """Fp32 tables of patches at (row, column): a quarter of the head width of angles for each axis."""
    angles = coordinates[:, :, None].float() * _frequencies(width // 2, theta, coordinates.device)  # P 2 H/4
    angles = angles.flatten(1)[:, None]
    return Tables(cosines=angles.cos(), sines=angles.sin())


def sequence_tables(positions: Tensor, *, width: int, theta: float, dtype: torch.dtype) -> Tables:
    """Tables of tokens at integer positions; angles in fp32, then `dtype`, in which the reference rotates."""
    angles = positions[:, None, None].float() * _frequencies(width, theta, positions.device)  # T 1 H/2
    return Tables(cosines=angles.cos().to(dtype), sines=angles.sin().to(dtype))


def rotate(x: Tensor, tables: Tables) -> Tensor:
    """Turn heads [T, N, H] by their tables, in the wider type of the two; the result has the type of `x`."""
    cosines, sines = tables.cosines, tables.sines
    first, second = x.to(torch.promote_types(x.dtype, cosines.dtype)).chunk(2, dim=-1)
    turned = torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1)
    return turned.to(x.dtype)


def _frequencies(width: int, theta: float, device: torch.device) -> Tensor:  # width/2
    exponents = torch.arange(0, width, 2, dtype=torch.float, device=device) / width
    return 1.0 / (theta**exponents)
