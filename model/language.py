"""Language: the Qwen2.5 decoder over packed sequences.

Shapes: T packed positions, S sequences, D language width, N query heads, G key-value heads, H head width.

Source: Qwen2.5 technical report, arXiv:2412.15115. Module names are those of the `video_llama_3` port.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import Segments, attend
from model.config import LanguageConfig
from model.rope import Tables, rotate, sequence_tables


class KeyValues(Protocol):
    """Keys and values of earlier positions, held by generation."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, sequences: Segments | None) -> Tensor:
        """Store k and v [T, G, H] of this layer and attend to all that is stored: T N H -> T N H."""
        ...


class RMSNorm(nn.Module):
    """Division by the root mean square, computed in fp32, then a weight."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """T D -> T D."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class LanguageAttention(nn.Module):
    """Causal attention inside each sequence, with fewer key-value heads than query heads."""

    def __init__(self, config: LanguageConfig, index: int) -> None:
        super().__init__()
        self.index = index
        self.attend = attend  # a member, so that who compiles the block can leave it out
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(config.hidden, config.heads * config.head_dim)
        self.k_proj = nn.Linear(config.hidden, config.kv_heads * config.head_dim)
        self.v_proj = nn.Linear(config.hidden, config.kv_heads * config.head_dim)
        self.o_proj = nn.Linear(config.heads * config.head_dim, config.hidden, bias=False)

    def forward(self, x: Tensor, tables: Tables, sequences: Segments | None, cache: KeyValues | None) -> Tensor:
        """T D -> T D."""
        q, k, v = (project(x).unflatten(-1, (-1, self.head_dim)) for project in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, tables), rotate(k, tables)
        if cache is not None:
            mixed = cache.attend(self.index, q, k, v, sequences)
        else:
            assert sequences is not None
            mixed = self.attend(q, k, v, sequences, causal=True)
        return self.o_proj(mixed.flatten(1))


class LanguageMLP(nn.Module):
    """Gated linear unit with SiLU."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.down_proj = nn.Linear(config.intermediate, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """T D -> T D."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LanguageBlock(nn.Module):
    """One pre-norm layer. Takes tensors and segments only, so that it can be checkpointed, compiled and sharded."""

    def __init__(self, config: LanguageConfig, index: int) -> None:
        super().__init__()
        self.self_attn = LanguageAttention(config, index)
        self.mlp = LanguageMLP(config)
        self.input_layernorm = RMSNorm(config.hidden, config.norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden, config.norm_eps)

    def forward(self, x: Tensor, tables: Tables, sequences: Segments | None, cache: KeyValues | None = None) -> Tensor:
        """T D -> T D."""
        x = x + self.self_attn(self.input_layernorm(x), tables, sequences, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class LanguageModel(nn.Module):
    """Embedding table, blocks and final norm; takes embeddings, because some positions are visual tokens."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab, config.hidden)
        self.layers = nn.ModuleList(LanguageBlock(config, index) for index in range(config.layers))
        self.norm = RMSNorm(config.hidden, config.norm_eps)

    def forward(
        self, x: Tensor, positions: Tensor, sequences: Segments | None, cache: KeyValues | None = None
    ) -> Tensor:
        """Normalised last states of embeddings [T, D] at `positions` [T] in their sequences: T D -> T D.

        `sequences` is None only while decoding, when every position belongs to another sequence of `cache`.
        """
        config = self.config
        tables = sequence_tables(positions, width=config.head_dim, theta=config.rope_theta, dtype=x.dtype)
        for layer in self.layers:
            x = layer(x, tables, sequences, cache)
        return self.norm(x)
