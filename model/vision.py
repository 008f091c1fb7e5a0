"""Vision: the encoder of patches at any resolution; each frame is looked at by itself.

Shapes: P patches, K values per patch, E vision width, N heads, H head width.

Source: VideoLLaMA3, arXiv:2501.13106 (SigLIP so400m, its position table replaced by two-dimensional rotation; the
feature is the last layer, normalised). Module names are those of the `video_llama_3` port.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import Segments, attend
from model.config import VisionConfig
from model.rope import Tables, axial_tables, rotate


class PatchEmbedding(nn.Module):
    """A patch to a vector. The weight has the shape of a convolution, as published; the work is one matrix product."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.hidden, config.channels, config.patch, config.patch))
        self.bias = nn.Parameter(torch.empty(config.hidden))

    def forward(self, patches: Tensor) -> Tensor:
        """P K -> P E."""
        return F.linear(patches.to(self.weight.dtype), self.weight.flatten(1), self.bias)


class VisionAttention(nn.Module):
    """Attention of every patch to all patches of its frame; the rotation is computed in fp32."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attend = attend  # a member, so that who compiles the block can leave it out
        self.q_proj = nn.Linear(config.hidden, config.hidden)
        self.k_proj = nn.Linear(config.hidden, config.hidden)
        self.v_proj = nn.Linear(config.hidden, config.hidden)
        self.out_proj = nn.Linear(config.hidden, config.hidden)

    def forward(self, x: Tensor, tables: Tables, frames: Segments) -> Tensor:
        """P E -> P E."""
        q, k, v = (project(x).unflatten(-1, (self.heads, -1)) for project in (self.q_proj, self.k_proj, self.v_proj))
        mixed = self.attend(rotate(q, tables), rotate(k, tables), v, frames, causal=False)
        return self.out_proj(mixed.flatten(1))


class VisionMLP(nn.Module):
    """Two linear layers with a tanh GELU between."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden, config.intermediate)
        self.fc2 = nn.Linear(config.intermediate, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """P E -> P E."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class VisionBlock(nn.Module):
    """One pre-norm layer. Takes tensors and segments only, so that it can be checkpointed, compiled and sharded."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden, eps=config.norm_eps)
        self.self_attn = VisionAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden, eps=config.norm_eps)
        self.mlp = VisionMLP(config)

    def forward(self, x: Tensor, tables: Tables, frames: Segments) -> Tensor:
        """P E -> P E."""
        x = x + self.self_attn(self.layer_norm1(x), tables, frames)
        return x + self.mlp(self.layer_norm2(x))


class VisionEncoder(nn.Module):
    """Patches to features, one row per patch."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = nn.ModuleDict({"patch_embedding": PatchEmbedding(config)})
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(VisionBlock(config) for _ in range(config.layers))})
        self.post_layernorm = nn.LayerNorm(config.hidden, eps=config.norm_eps)

    @property
    def layers(self) -> nn.ModuleList:
        """The blocks, for whoever wraps them."""
        layers = self.encoder["layers"]
        assert isinstance(layers, nn.ModuleList)
        return layers

    def forward(self, patches: Tensor, coordinates: Tensor, frames: Segments) -> Tensor:
        """Features of patches [P, K] (uint8, or normalised) at (row, column) coordinates [P, 2]: P K -> P E."""
        tables = axial_tables(coordinates, width=self.config.head_dim, theta=self.config.rope_theta)
        x = self.embeddings["patch_embedding"](normalise(patches))
        for layer in self.layers:
            x = layer(x, tables, frames)
        return self.post_layernorm(x)


def normalise(patches: Tensor) -> Tensor:
    """Raw pixels 0..255 to [-1, 1] in fp32; floats are taken as already normalised."""
    if patches.dtype == torch.uint8:
        return patches.float().div_(255).sub_(0.5).div_(0.5)
    return patches
