"""Attention: softmax(q k^T) v inside segments of a packed row, by one interface over several kernels.

Shapes: T packed positions, S segments, N query heads, G key-value heads (G divides N), H head width.
A segment is a frame in the vision encoder (every position sees every other), a sequence in the language model (causal).
Nothing here builds a T x T mask, except the oracle of the tests.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Segments:
    """Where segments lie in a packed row; made once per pack, shared by all layers.

    What shapes a kernel launch is on the host, so that no layer waits for the device.
    """

    bounds: Tensor  # S+1 int32, on the device of the row
    lengths: tuple[int, ...]
    longest: int
    runs: tuple[tuple[int, int], ...]  # (segments in a row of one length, that length), empty segments left out

    @classmethod
    def of(cls, lengths: Sequence[int], *, device: torch.device | str = "cpu") -> Segments:
        """Segments of these lengths, in positions, end to end."""
        bounds = torch.tensor((0, *lengths)).cumsum(0, dtype=torch.int32)
        runs = tuple((len(list(run)), length) for length, run in groupby(length for length in lengths if length))
        return cls(bounds=send(bounds, device), lengths=tuple(lengths), longest=max(lengths, default=0), runs=runs)


def send(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy of a CPU tensor on `device`, through page-locked memory for CUDA, so that the host does not wait."""
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def attend(
    q: Tensor,  # T N H
    k: Tensor,  # T G H
    v: Tensor,  # T G H
    segments: Segments,
    *,
    causal: bool,
) -> Tensor:  # T N H
    """Attention inside each segment, by the best kernel for the device and type of `q`."""
    if q.is_cuda and q.dtype in (torch.bfloat16, torch.float16):
        return attend_varlen(q, k, v, segments, causal=causal)
    return attend_sdpa(q, k, v, segments, causal=causal)


def attend_varlen(q: Tensor, k: Tensor, v: Tensor, segments: Segments, *, causal: bool) -> Tensor:
    """One variable-length kernel over all segments: CUDA, 16-bit types."""
    kernel, grouped = _varlen()
    if not grouped and q.shape[1] != k.shape[1]:
        repeats = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    bounds, longest = segments.bounds, segments.longest
    options = {"enable_gqa": q.shape[1] != k.shape[1]} if grouped else {}
    window = (-1, 0) if causal else (-1, -1)
    return kernel(q, k, v, bounds, bounds, longest, longest, window_size=window, **options)


def attend_sdpa(q: Tensor, k: Tensor, v: Tensor, segments: Segments, *, causal: bool) -> Tensor:
    """One scaled_dot_product_attention call per run of segments of equal length: any device, any type.

    The frames of a video have one length, so they are one batched call.
    """
    if not segments.runs:
        return q * (k.sum() + v.sum())  # no positions: an empty result that still depends on all three
    sizes = [count * length for count, length in segments.runs]
    outputs = []
    for (count, length), *parts in zip(segments.runs, *(x.split(sizes) for x in (q, k, v)), strict=True):
        batched = [part.unflatten(0, (count, length)).transpose(1, 2) for part in parts]  # T N H -> S N L H
        output = F.scaled_dot_product_attention(*batched, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])
        outputs.append(output.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)


def attend_dense(q: Tensor, k: Tensor, v: Tensor, segments: Segments, *, causal: bool) -> Tensor:
    """The definition, with a T x T mask and fp32 scores: what the tests hold the kernels against."""
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    owner = torch.repeat_interleave(torch.tensor(segments.lengths, device=q.device))
    allowed = owner[:, None] == owner[None, :]
    if causal:
        allowed = allowed.tril()
    scores = torch.einsum("qnh,knh->nqk", q.float(), k.float()) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1)
    return torch.einsum("nqk,knh->qnh", weights, v.float()).to(q.dtype)


@cache
def _varlen() -> tuple[Callable[..., Any], bool]:
    """Torch's kernel, and whether it has the switch `enable_gqa` for fewer key-value heads (2.13 has, 2.11 has not)."""
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn, "enable_gqa" in inspect.signature(varlen_attn).parameters
