"""Batch: one encoded sample, and a pack of them end to end as the model sees it.

Shapes: T packed positions, S sequences, P patches, K values per patch, M media, Q visual tokens before pruning,
C visual tokens kept, N supervised tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from model.geometry import Grid, Kind

IGNORED = -100  # label of a token that is not trained on
PATCH_VALUES = 588  # 3 channels x 14 x 14 pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """One sample, ready to be packed. Arrays are numpy, so that workers ship it cheaply.

    `tokens` holds one placeholder per true entry of `keep`; `labels[t] == tokens[t]` where supervised, else -100.
    `patches` are raw pixels 0..255 (uint8) or normalised (float), media after media; `keep` follows the visual tokens
    before pruning. Raises ValueError when the parts contradict each other.
    """

    tokens: np.ndarray  # T int64
    labels: np.ndarray  # T int64
    patches: np.ndarray  # P K, uint8 or float
    grids: np.ndarray  # M 3 int64
    merges: np.ndarray  # M int64
    keep: np.ndarray  # Q bool
    kinds: tuple[Kind, ...]
    sizes: tuple[tuple[int, int], ...] = ()  # M, height and width in pixels before resizing, where they are known

    def __post_init__(self) -> None:
        num_tokens, num_patches, num_media = len(self.tokens), len(self.patches), len(self.grids)
        _expect("labels", len(self.labels), num_tokens, "one per token")
        _expect("merges", len(self.merges), num_media, "one per grid")
        _expect("kinds", len(self.kinds), num_media, "one per grid")
        _expect("patches", num_patches, int(self.grids.prod(axis=1).sum()), "as the grids say")
        squares = (self.grids[:, 0] * (self.grids[:, 1] // self.merges) * (self.grids[:, 2] // self.merges)).sum()
        _expect("keep", len(self.keep), int(squares), "as grids and merges say")


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedBatch:
    """Samples end to end: no padding, no batch dimension.

    What a kernel launch must know lies on the host (tuples and indices made by `of`), so that no forward pass waits for
    the device. `kept` is None when no visual token is pruned.
    """

    tokens: Tensor  # T int64
    labels: Tensor  # T int64
    positions: Tensor  # T int64: restart per sequence
    cu_seqlens: Tensor  # S+1 int32: bounds of the sequences in T
    patches: Tensor  # P K, uint8 or float
    grids: Tensor  # M 3 int64
    merges: Tensor  # M int64
    keep: Tensor  # Q bool
    kept: Tensor | None  # C int64: indices of the true entries of keep
    predictors: Tensor  # N int64: positions whose next token is supervised
    sequence_lengths: tuple[int, ...]
    media: tuple[tuple[Grid, int], ...]  # (grid, merge) per medium

    @classmethod
    def of(
        cls,
        *,
        tokens: Tensor,  # T int64
        labels: Tensor,  # T int64
        sequence_lengths: Sequence[int],
        patches: Tensor,  # P K, uint8 or float
        grids: Tensor,  # M 3 int64
        merges: Tensor,  # M int64
        keep: Tensor,  # Q bool
    ) -> PackedBatch:
        """Derive positions, bounds and indices from tensors on the CPU. Labels of first tokens become -100."""
        lengths = torch.tensor(tuple(sequence_lengths), dtype=torch.int64)
        _expect("tokens", len(tokens), int(lengths.sum()), "the sum of sequence_lengths")
        bounds = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
        starts = bounds[:-1]
        labels = labels.clone()
        labels[starts[lengths > 0]] = IGNORED  # predicted by the sequence before, so never trained on
        return cls(
            tokens=tokens,
            labels=labels,
            positions=torch.arange(len(tokens)) - starts.repeat_interleave(lengths),
            cu_seqlens=bounds.to(torch.int32),
            patches=patches,
            grids=grids,
            merges=merges,
            keep=keep,
            kept=None if bool(keep.all()) else keep.nonzero().flatten(),
            predictors=(labels != IGNORED).nonzero().flatten() - 1,
            sequence_lengths=tuple(lengths.tolist()),
            media=tuple((Grid(*grid), merge) for grid, merge in zip(grids.tolist(), merges.tolist(), strict=True)),
        )

    @property
    def frame_lengths(self) -> tuple[int, ...]:
        """Patches of each frame of each medium: the attention segments of the vision encoder."""
        return tuple(grid.rows * grid.columns for grid, _ in self.media for _ in range(grid.frames))

    @property
    def num_supervised(self) -> int:
        """Tokens that the loss sums over."""
        return len(self.predictors)

    @property
    def num_visual_tokens(self) -> int:
        """Visual tokens after pruning, equal to the number of placeholders in `tokens`."""
        return len(self.keep) if self.kept is None else len(self.kept)

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> PackedBatch:
        """Copy on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PackedBatch:
        """Copy in page-locked memory, from which `to` does not block. DataLoader calls it by this name."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> PackedBatch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(value) for name, value in values.items() if isinstance(value, Tensor)})


def pack(samples: Sequence[Encoded]) -> PackedBatch:
    """Lay samples end to end, in the given order. Raises ValueError on no samples or on mixed kinds of patches."""
    if not samples:
        raise ValueError("pack: found no samples; give at least one")
    patches = [sample.patches for sample in samples if len(sample.patches)]
    if len({array.dtype for array in patches}) > 1:
        raise ValueError(f"pack: found patches of types {sorted({str(p.dtype) for p in patches})}; give one type")

    def join(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(sample, name) for sample in samples]))

    return PackedBatch.of(
        tokens=join("tokens"),
        labels=join("labels"),
        sequence_lengths=[len(sample.tokens) for sample in samples],
        patches=torch.from_numpy(np.concatenate(patches or [np.zeros((0, PATCH_VALUES), np.uint8)])),
        grids=join("grids"),
        merges=join("merges"),
        keep=join("keep"),
    )


def _expect(name: str, found: int, wanted: int, why: str) -> None:
    if found != wanted:
        raise ValueError(f"{name}: found {found} entries, wanted {wanted} ({why})")
