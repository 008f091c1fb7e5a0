"""Pruning against the port's float32 mask, pixel by pixel."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from model.frames import sample_video
from model.geometry import VisualRules
from model.prune import prune_mask
from model.torchvision_repair import repair_torchvision
from model.visuals import patchify


def port_mask(patches: np.ndarray, merge: int) -> np.ndarray:
    """The video processor's own mask of raw patches [F, Q, K], normalised as that processor does."""
    repair_torchvision()
    from transformers import VideoLlama3VideoProcessor

    processor = VideoLlama3VideoProcessor(image_mean=[0.5] * 3, image_std=[0.5] * 3)
    frames, tokens, _ = patches.shape
    pixels = processor.rescale_and_normalize(
        torch.from_numpy(patches.copy()).reshape(1, 3, -1, 14), True, 1 / 255, True, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    )
    grid = torch.tensor([[frames, merge, tokens * merge]])
    mask = processor._get_compression_mask(pixels.reshape(-1, 588), grid, torch.tensor([merge]))
    return mask.reshape(frames, tokens).numpy()


def clip(frames: int, tokens: int, merge: int, change: int, seed: int) -> np.ndarray:
    """Every token of every frame differs from the frame before by a summed difference near the cut."""
    random = np.random.default_rng(seed)
    values = merge * merge * 588
    patches = np.repeat(random.integers(1, 255, (1, tokens, values)), frames, axis=0)
    for frame in range(1, frames):
        patches[frame] = patches[frame - 1]
        for token in range(tokens):
            places = random.choice(values, change + token - tokens // 2, replace=False)
            patches[frame, token, places] += np.where(patches[frame, token, places] > 127, -1, 1)
    return patches.astype(np.uint8)


@pytest.mark.parametrize(("merge", "cut"), [(1, 29), (2, 117)])
def test_mask_equals_the_port_on_both_sides_of_the_cut(merge: int, cut: int) -> None:
    patches = clip(4, 20, merge, cut, seed=merge)
    keep = prune_mask(patches)
    assert np.array_equal(keep, port_mask(patches, merge))
    assert 0 < keep[1:].mean() < 1
    assert keep[0].all()


def test_mask_equals_the_port_on_noise_and_still_pictures() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (5, 6, 2352), dtype=np.uint8)
    noise[2:4] = noise[1]
    noise[4, :3] = noise[3, :3]
    keep = prune_mask(noise)
    assert np.array_equal(keep, port_mask(noise, 2))
    assert keep.sum(axis=1).tolist() == [6, 6, 1, 1, 3]


def test_slow_drift_is_measured_from_the_previous_frame() -> None:
    """The reference's rule, kept on purpose: a drift below the cut per frame is never refreshed."""
    patches = np.zeros((30, 2, 2352), np.uint8)
    for frame in range(1, 30):
        patches[frame] = patches[frame - 1]
        patches[frame, 1, frame * 60 : frame * 60 + 60] = 1
    assert prune_mask(patches).sum(axis=0).tolist() == [30, 1]


def test_minimum_keeps_the_first_tokens_of_a_still_frame() -> None:
    still = np.full((3, 5, 588), 7, np.uint8)
    assert prune_mask(still, min_tokens=2).sum(axis=1).tolist() == [5, 2, 2]
    assert prune_mask(still, min_tokens=2)[1].tolist() == [True, True, False, False, False]
    assert prune_mask(still, min_tokens=0).sum(axis=1).tolist() == [5, 0, 0]
    assert prune_mask(still, min_tokens=9).all()


def test_single_frame_is_kept_whole() -> None:
    assert prune_mask(np.zeros((1, 4, 588), np.uint8)).all()


def test_other_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="wanted uint8"):
        prune_mask(np.zeros((2, 4, 588), np.float32))


@pytest.mark.corpus
@pytest.mark.skipif("VL3_CORPUS" not in os.environ, reason="VL3_CORPUS is not set")
def test_mask_equals_the_port_on_real_clips() -> None:
    rules = VisualRules(max_tokens=1024, max_frames=12)
    shares = []
    with tarfile.open(Path(os.environ["VL3_CORPUS"]) / "videos-00000.tar") as tar:
        clips = [member for member in tar if member.name.endswith((".mp4", ".mkv", ".avi"))]
        for member in clips[:12]:
            data = tar.extractfile(member)
            assert data is not None
            frames = sample_video(io.BytesIO(data.read()), rules).pixels
            patches = patchify(frames, patch=14, merge=2).reshape(len(frames), -1, 2352)
            keep = prune_mask(patches)
            assert np.array_equal(keep, port_mask(patches, 2)), member.name
            shares.append(keep.mean())
    assert min(shares) < 1, "no clip had anything to prune: the comparison shows nothing"
