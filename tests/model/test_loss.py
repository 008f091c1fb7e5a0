"""The chunked loss against plain cross-entropy over all logits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from model.loss import linear_cross_entropy


def inputs(rows: int = 37, width: int = 12, vocab: int = 50, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, width, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(vocab, width, generator=generator).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(0, vocab, (rows,), generator=generator)


def reference(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, z_loss: float) -> torch.Tensor:
    logits = hidden.double() @ weight.double().T
    return F.cross_entropy(logits, targets, reduction="sum") + z_loss * logits.logsumexp(1).square().sum()


@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
@pytest.mark.parametrize("max_rows", [1, 5, 37, 1000, None])
def test_loss_and_gradients_equal_plain_cross_entropy(max_rows: int | None, z_loss: float) -> None:
    hidden, weight, targets = inputs()
    wanted = reference(hidden, weight, targets, z_loss)
    exact = torch.autograd.grad(wanted * 0.3, (hidden, weight))
    found = linear_cross_entropy(hidden, weight, targets, z_loss=z_loss, max_rows=max_rows)
    torch.testing.assert_close(found.total.double(), wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.autograd.grad(found.total * 0.3, (hidden, weight)), exact, rtol=1e-4, atol=1e-5)
    logits = hidden @ weight.T
    torch.testing.assert_close(found.losses, F.cross_entropy(logits, targets, reduction="none"))
    assert torch.equal(found.correct, logits.argmax(1) == targets)


def test_16_bit_inputs_are_summed_in_32() -> None:
    hidden, weight, targets = inputs(rows=3000, dtype=torch.bfloat16)
    wanted = reference(hidden, weight, targets, 0.0)
    exact = torch.autograd.grad(wanted, (hidden, weight))
    found = linear_cross_entropy(hidden, weight, targets, max_rows=256)
    assert found.total.dtype == torch.float32
    assert abs(found.total.item() / wanted.item() - 1) < 1e-3
    for gradient, other in zip(torch.autograd.grad(found.total, (hidden, weight)), exact, strict=True):
        assert gradient.dtype == torch.bfloat16
        assert (gradient - other).norm() < 0.02 * other.norm()


def test_autocast_multiplies_in_16_bits_and_gives_gradients_in_32() -> None:
    hidden, weight, targets = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_cross_entropy(hidden, weight, targets)
    wanted = linear_cross_entropy(hidden.bfloat16(), weight.bfloat16(), targets)
    assert found.total.item() == wanted.total.item()
    gradients = torch.autograd.grad(found.total, (hidden, weight))
    assert [gradient.dtype for gradient in gradients] == [torch.float32, torch.float32]


@pytest.mark.parametrize("frozen", ["hidden", "weight", "both"])
def test_frozen_inputs_get_no_gradient(frozen: str) -> None:
    hidden, weight, targets = inputs()
    hidden.requires_grad_(frozen == "weight")
    weight.requires_grad_(frozen == "hidden")
    total = linear_cross_entropy(hidden, weight, targets).total
    assert total.requires_grad == (frozen != "both")
    if frozen != "both":
        total.backward()
        assert (hidden.grad is None) == (frozen == "hidden")
        assert (weight.grad is None) == (frozen == "weight")


def test_large_logits_do_not_overflow() -> None:
    hidden, weight, targets = inputs()
    total = linear_cross_entropy(hidden * 1e4, weight, targets).total
    torch.testing.assert_close(total.double(), reference(hidden * 1e4, weight, targets, 0.0), rtol=1e-5, atol=0)


def test_no_rows_give_zero_that_still_trains() -> None:
    hidden, weight, targets = inputs(rows=0)
    total = linear_cross_entropy(hidden, weight, targets).total
    total.backward()
    assert total.item() == 0
    assert weight.grad is not None
    assert torch.count_nonzero(weight.grad) == 0


def test_a_second_backward_pass_is_refused_not_wrong() -> None:
    hidden, weight, targets = inputs()
    total = linear_cross_entropy(hidden, weight, targets).total
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_logits_never_exist_all_at_once() -> None:
    """The largest tensor made is a chunk: rows x vocabulary are 64 times that."""
    hidden, weight, targets = inputs(rows=4096, width=8, vocab=1000)
    with torch.profiler.profile(profile_memory=True) as profile:
        linear_cross_entropy(hidden, weight, targets, max_rows=64).total.backward()
    allocations = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    largest = max(event.nbytes() for event in allocations)
    assert 0 < largest < 2 * 64 * 1000 * 4 < hidden.shape[0] * 1000 * 4 / 8
