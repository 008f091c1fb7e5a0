"""Packing against each sample alone."""

import dataclasses

import numpy as np
import pytest
import torch

from model.batch import IGNORED, Encoded, PackedBatch, pack


def sample(length: int, *, grids: list[tuple[int, int, int]] = (), merges: list[int] = (), seed: int = 0) -> Encoded:
    random = np.random.default_rng(seed)
    tokens = random.integers(1, 100, length)
    grid = np.array(grids, np.int64).reshape(-1, 3)
    merge = np.array(merges, np.int64)
    return Encoded(
        tokens=tokens,
        labels=np.where(random.random(length) < 0.5, tokens, IGNORED),
        patches=random.integers(0, 256, (int(grid.prod(axis=1).sum()), 588)).astype(np.uint8),
        grids=grid,
        merges=merge,
        keep=random.random(int((grid.prod(axis=1) // merge**2).sum())) < 0.5,
        kinds=("video",) * len(grid),
    )


def mixed() -> list[Encoded]:
    return [
        sample(7, seed=1),
        sample(30, grids=[(3, 4, 2), (1, 2, 2)], merges=[2, 1], seed=2),
        sample(1, seed=3),
        sample(12, grids=[(1, 4, 4)], merges=[2], seed=4),
    ]


def test_pack_keeps_every_sample_in_its_slice() -> None:
    samples = mixed()
    batch = pack(samples)
    assert batch.sequence_lengths == (7, 30, 1, 12)
    assert batch.cu_seqlens.tolist() == [0, 7, 37, 38, 50]
    assert batch.cu_seqlens.dtype == torch.int32
    bounds = batch.cu_seqlens.tolist()
    for one, start, end in zip(samples, bounds, bounds[1:], strict=False):
        assert batch.tokens[start:end].tolist() == one.tokens.tolist()
        assert batch.labels[start + 1 : end].tolist() == one.labels[1:].tolist()
        assert batch.positions[start:end].tolist() == list(range(end - start))
    assert batch.patches.dtype == torch.uint8
    assert np.array_equal(batch.patches.numpy(), np.concatenate([one.patches for one in samples]))
    assert batch.frame_lengths == (8, 8, 8, 4, 16)
    assert [(tuple(grid), merge) for grid, merge in batch.media] == [((3, 4, 2), 2), ((1, 2, 2), 1), ((1, 4, 4), 2)]


def test_loss_never_crosses_a_sequence() -> None:
    one = sample(5)
    all_supervised = dataclasses.replace(one, labels=one.tokens.copy())
    batch = pack([all_supervised, all_supervised])
    assert (batch.labels == IGNORED).nonzero().flatten().tolist() == [0, 5]
    # The last position of the first sequence predicts nothing; every other predicts its neighbour.
    assert batch.predictors.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert batch.num_supervised == 8
    assert all_supervised.labels[0] != IGNORED, "packing must not write into the sample"


def test_indices_on_the_host_agree_with_the_tensors() -> None:
    batch = pack(mixed())
    assert batch.kept is not None
    assert batch.kept.tolist() == [i for i, kept in enumerate(batch.keep.tolist()) if kept]
    assert batch.num_visual_tokens == int(batch.keep.sum())
    assert batch.labels[batch.predictors + 1].tolist() == [x for x in batch.labels.tolist() if x != IGNORED]


def test_nothing_pruned_needs_no_index() -> None:
    one = sample(9, grids=[(2, 2, 2)], merges=[1])
    batch = pack([dataclasses.replace(one, keep=np.ones(8, bool))])
    assert batch.kept is None
    assert batch.num_visual_tokens == 8


def test_text_only_pack_has_no_patches() -> None:
    batch = pack([sample(4), sample(6)])
    assert batch.patches.shape == (0, 588)
    assert batch.grids.shape == (0, 3)
    assert batch.frame_lengths == ()


def test_moving_copies_tensors_and_leaves_host_facts() -> None:
    batch = pack(mixed())
    moved = batch.to("meta")
    assert all(
        getattr(moved, field.name).is_meta
        for field in dataclasses.fields(PackedBatch)
        if isinstance(getattr(batch, field.name), torch.Tensor)
    )
    assert (moved.frame_lengths, moved.sequence_lengths) == (batch.frame_lengths, batch.sequence_lengths)


def test_contradictory_sample_is_refused() -> None:
    one = sample(9, grids=[(2, 2, 2)], merges=[1])
    with pytest.raises(ValueError, match="patches: found 7 entries, wanted 8"):
        dataclasses.replace(one, patches=one.patches[1:])
    with pytest.raises(ValueError, match="keep: found 8 entries, wanted 2"):
        dataclasses.replace(one, merges=np.array([2]))
    with pytest.raises(ValueError, match="labels: found 8 entries, wanted 9"):
        dataclasses.replace(one, labels=one.labels[1:])


def test_mixed_patch_types_are_refused() -> None:
    one = sample(9, grids=[(2, 2, 2)], merges=[1])
    normalised = dataclasses.replace(one, patches=one.patches.astype(np.float32))
    with pytest.raises(ValueError, match=r"float32.*uint8"):
        pack([one, normalised])
    assert pack([normalised, sample(3)]).patches.dtype == torch.float32


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        pack([])
