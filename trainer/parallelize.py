"""Parallelize: recomputation, compilation and sharding, in this order, over a model that knows of none of them.

Units of sharding: each language block; the vision encoder's blocks; the rest (embedding, norms, projector, head)
with the root, since the tied head and the embedding are one weight. The gradient is the sum over ranks: FSDP
averages, so the step multiplies the loss by the number of ranks, which works with every backend (a divide factor of
1 fails on gloo).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.utils._pytree import register_dataclass
from torch.utils.checkpoint import checkpoint

from model.loss import TokenLosses
from model.videollama3 import VideoLLaMA3
from trainer.world import World

# FSDP finds the tensors of a module's output through pytree, and hangs its backward hooks on them.
register_dataclass(TokenLosses, field_names=["total", "losses", "correct"], drop_field_names=[])


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """How a model is run; changes speed and memory, not results (beyond rounding).

    recompute_vision, recompute_language: keep only the inputs of blocks, and run them again in the backward pass.
    compile: each block, by `backend`.
    prefetch: blocks whose weights are gathered ahead of the one that runs; 0 leaves it to FSDP, which gathers one ahead
    in the backward pass, and in the forward pass as far as the host is ahead of the device.
    bf16: weights and activations in 16 bits, master weights, reduction and optimizer in 32; None is on for GPUs.
    """

    recompute_vision: bool = False
    recompute_language: bool = False
    compile: bool = False
    backend: Any = "inductor"
    bf16: bool | None = None
    prefetch: int = 0


def parallelize(model: VideoLLaMA3, world: World, parallel: Parallel) -> None:
    """Prepare a model in place for a world. Nothing happens to a single process on a CPU unless asked for."""
    vision, language = list(model.vision.layers), list(model.language.layers)
    if parallel.recompute_vision:
        _recompute(vision)
    if parallel.recompute_language:
        _recompute(language)
    if parallel.compile:
        _compile([*vision, *language], parallel.backend)
    if world.mesh is not None:
        _shard(model, [*vision, *language], world, parallel)
        if parallel.prefetch:
            _prefetch(vision, parallel.prefetch)
            _prefetch(language, parallel.prefetch)


def set_sync(model: nn.Module, *, last: bool) -> None:
    """Reduce gradients over ranks only in the last micro-step of a step."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
        model.set_is_last_backward(last)


def _recompute(blocks: Iterable[nn.Module]) -> None:
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _compile(blocks: Iterable[nn.Module], backend: Any) -> None:
    """Compile each block around its attention, which is left as it is: it is one kernel already, and what it must know
    of a pack lies on the host, so that a compiled one would be compiled again for every pack.
    """
    for block in blocks:
        block.self_attn.attend = torch.compiler.disable(block.self_attn.attend)  # pyright: ignore
        block.forward = torch.compile(block.forward, dynamic=True, backend=backend)


def _shard(model: VideoLLaMA3, blocks: list[nn.Module], world: World, parallel: Parallel) -> None:
    bf16 = world.device.type == "cuda" if parallel.bf16 is None else parallel.bf16
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for block in blocks:
        fully_shard(block, mesh=world.mesh, mp_policy=policy)
    fully_shard(model, mesh=world.mesh, mp_policy=policy, reshard_after_forward=False)


def _prefetch(blocks: list[nn.Module], ahead: int) -> None:
    """Within one component only: a frozen one has no backward pass in which what was gathered would be let go."""
    for number, block in enumerate(blocks):
        assert isinstance(block, FSDPModule)
        block.set_modules_to_forward_prefetch(blocks[number + 1 : number + 1 + ahead])  # pyright: ignore[reportArgumentType]
        block.set_modules_to_backward_prefetch(blocks[max(0, number - ahead) : number][::-1])  # pyright: ignore[reportArgumentType]
