"""Cache: keys and values of several conversations while they are continued together.

Shapes: B conversations, T packed positions, N query heads, G key-value heads, C places per conversation, H head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import Segments, attend
from model.batch import PackedBatch


class KeyValueCache:
    """Filled once from a pack of prompts, then grown by one position per conversation and step.

    Prompts of different lengths share tensors as long as the longest; a mask hides the places not filled yet.
    """

    def __init__(self, batch: PackedBatch, *, layers: int, max_new_tokens: int) -> None:
        device = batch.tokens.device
        self.lengths = torch.tensor(batch.sequence_lengths, device=device)  # B: positions held
        self.longest = max(batch.sequence_lengths)
        self._capacity = self.longest + max_new_tokens
        self._owners = torch.arange(len(self.lengths), device=device).repeat_interleave(self.lengths)  # T
        self._positions = batch.positions
        self._keys: list[Tensor | None] = [None] * layers  # each B G C H
        self._values: list[Tensor | None] = [None] * layers

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, sequences: Segments | None) -> Tensor:
        """Store k and v; attend within the pack while it is read, to all that is stored after: T N H -> T N H."""
        if sequences is not None:
            self._keys[layer], self._values[layer] = self._spread(k), self._spread(v)
            return attend(q, k, v, sequences, causal=True)
        keys, values = self._keys[layer], self._values[layer]
        assert keys is not None
        assert values is not None
        rows = torch.arange(len(k), device=k.device)
        keys[rows, :, self.lengths] = k
        values[rows, :, self.lengths] = v
        filled = self.longest + 1
        visible = torch.arange(filled, device=k.device) <= self.lengths[:, None]  # B C
        mixed = F.scaled_dot_product_attention(
            q[:, :, None],
            keys[:, :, :filled],
            values[:, :, :filled],
            attn_mask=visible[:, None, None],
            enable_gqa=q.shape[1] != k.shape[1],
        )
        return mixed[:, :, 0]

    def advance(self) -> None:
        """Count the position that every conversation has just stored in all layers."""
        self.lengths = self.lengths + 1
        self.longest += 1

    def select(self, rows: Tensor) -> None:
        """Go on with these conversations only."""
        self.lengths = self.lengths[rows]
        self._keys = [None if keys is None else keys[rows] for keys in self._keys]
        self._values = [None if values is None else values[rows] for values in self._values]

    def _spread(self, packed: Tensor) -> Tensor:
        """T G H -> B G C H."""
        spread = packed.new_zeros(len(self.lengths), packed.shape[1], self._capacity, packed.shape[2])
        spread[self._owners, :, self._positions] = packed
        return spread
