"""Every attention kernel against the dense definition, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import varlen

from model import attention
from model.attention import Segments, attend, attend_dense, attend_sdpa, attend_varlen

Lengths = st.lists(st.integers(0, 9), min_size=1, max_size=7)


def random_heads(lengths: list[int], heads: int, groups: int, *, width: int = 8, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(sum(lengths), count, width) for count in (heads, groups, groups)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def with_gradients(kernel: Callable[..., torch.Tensor], heads: list[torch.Tensor], *rest: object, causal: bool):
    output = kernel(*heads, *rest, causal=causal)
    weights = torch.linspace(-1, 1, output.numel(), device=output.device).view_as(output)
    return output, torch.autograd.grad((output * weights).sum(), heads)


@settings(max_examples=40, deadline=None)
@given(lengths=Lengths, heads=st.sampled_from([(1, 1), (4, 2), (4, 1), (3, 3)]), causal=st.booleans())
def test_per_segment_attention_equals_the_definition(lengths: list[int], heads: tuple[int, int], causal: bool) -> None:
    inputs, segments = random_heads(lengths, *heads), Segments.of(lengths)
    found, wanted = (with_gradients(kernel, inputs, segments, causal=causal) for kernel in (attend_sdpa, attend_dense))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_frames_of_one_length_are_one_kernel_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    kernel = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        attention.F, "scaled_dot_product_attention", lambda *x, **y: calls.append(x[0].shape) or kernel(*x, **y)
    )
    lengths = [6] * 50 + [4] * 30 + [6]
    attend(*random_heads(lengths, 2, 2), Segments.of(lengths), causal=False)
    assert [tuple(shape) for shape in calls] == [(50, 2, 6, 8), (30, 2, 4, 8), (1, 2, 6, 8)]


def test_segments_know_their_bounds_and_longest() -> None:
    segments = Segments.of([3, 0, 5])
    assert segments.bounds.tolist() == [0, 3, 3, 8]
    assert segments.bounds.dtype == torch.int32
    assert (segments.longest, segments.runs) == (5, ((1, 3), (1, 5)))


@pytest.mark.parametrize("switch", [True, False])
def test_the_variable_length_kernel_is_called_right_by_both_versions_of_torch(
    switch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel runs on CUDA only; a dense one with the signatures of torch 2.13 and 2.11 stands in here."""

    def dense(q, k, v, bounds, window):
        lengths = bounds.diff().tolist()
        return attend_dense(q, k, v, Segments.of(lengths), causal=window == (-1, 0))

    def newer(q, k, v, cu_q, cu_k, max_q, max_k, *, window_size=(-1, -1), enable_gqa=False):
        assert enable_gqa or q.shape[1] == k.shape[1]
        assert max_q == max_k == int(cu_q.diff().max())
        return dense(q, k, v, cu_q, window_size)

    def older(q, k, v, cu_q, cu_k, max_q, max_k, *, window_size=(-1, -1)):
        assert q.shape == k.shape
        return dense(q, k, v, cu_q, window_size)

    monkeypatch.setattr(varlen, "varlen_attn", newer if switch else older)
    attention._varlen.cache_clear()
    lengths = [4, 1, 7]
    for causal in (True, False):
        inputs = random_heads(lengths, 4, 2)
        found = attend_varlen(*inputs, Segments.of(lengths), causal=causal)
        torch.testing.assert_close(found, attend_dense(*inputs, Segments.of(lengths), causal=causal))
    attention._varlen.cache_clear()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("width", [24, 32, 72, 128])
@pytest.mark.parametrize("causal", [True, False])
def test_the_variable_length_kernel_equals_the_definition(width: int, causal: bool) -> None:
    lengths = [33, 1, 128, 64, 64]
    inputs = [x.detach().cuda().bfloat16().requires_grad_() for x in random_heads(lengths, 4, 2, width=width)]
    segments = Segments.of(lengths, device="cuda")
    found, gradients = with_gradients(attend, inputs, segments, causal=causal)
    wanted, reference = with_gradients(attend_dense, inputs, segments, causal=causal)
    torch.testing.assert_close(found, wanted, atol=2e-2, rtol=2e-2)
    for gradient, exact in zip(gradients, reference, strict=True):
        assert (gradient - exact).norm() < 0.02 * exact.norm()
