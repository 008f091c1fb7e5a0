"""Near pairs of hashes: equal to comparing every pair, however the hash is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.select.hamming import BITS, Blocks, near_pairs, plan_blocks


def brute_force(hashes: np.ndarray, radius: int, anchors: int | None = None) -> list[tuple[int, int, int]]:
    anchors = len(hashes) if anchors is None else anchors
    words = [int(word) for word in hashes]
    return [
        (i, j, (words[i] ^ words[j]).bit_count())
        for i in range(len(words))
        for j in range(i + 1, len(words))
        if i < anchors and (words[i] ^ words[j]).bit_count() <= radius
    ]


def found(hashes: np.ndarray, radius: int, **options: object) -> list[tuple[int, int, int]]:
    pairs = near_pairs(hashes, radius=radius, **options)  # pyright: ignore[reportArgumentType]
    return list(zip(pairs.left.tolist(), pairs.right.tolist(), pairs.distance.tolist(), strict=True))


def clumped(rows: int, seed: int) -> np.ndarray:
    """Few centres with up to ten bits flipped, so that every distance occurs often."""
    random = np.random.default_rng(seed)
    centres = random.integers(0, 2**64, 6, dtype=np.uint64)
    hashes = centres[random.integers(0, 6, rows)]
    for row in range(rows):
        for bit in random.choice(BITS, random.integers(0, 11), replace=False):
            hashes[row] ^= np.uint64(1) << np.uint64(bit)
    return hashes


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 60), st.integers(0, 8), st.integers(1, 3), st.integers(0, 99))
def test_pairs_equal_brute_force_for_every_cut(rows: int, radius: int, clean: int, seed: int) -> None:
    hashes = clumped(rows, seed)
    assert found(hashes, radius, blocks=Blocks(blocks=radius + clean, clean=clean)) == brute_force(hashes, radius)


def test_pairs_of_many_random_hashes_equal_brute_force() -> None:
    hashes = np.concatenate([clumped(600, 1), np.random.default_rng(2).integers(0, 2**64, 600, dtype=np.uint64)])
    assert found(hashes, 3) == brute_force(hashes, 3)
    assert found(hashes, 3, anchors=200) == brute_force(hashes, 3, anchors=200)


def test_a_bucket_over_the_cap_compares_with_its_first_rows_and_says_so() -> None:
    hashes = np.full(50, 7, np.uint64)
    pairs = near_pairs(hashes, radius=0, cap=4)
    assert set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == {
        (i, j) for i in range(4) for j in range(i + 1, 50)
    }
    assert (pairs.crowds.tolist(), pairs.skipped) == ([[0, 50]], 46 * 45 // 2)
    assert len(near_pairs(hashes, radius=0).crowds) == 0


@pytest.mark.parametrize("radius", [0, 3, 8])
def test_masks_leave_a_clean_key_to_any_pair_within_the_radius(radius: int) -> None:
    random = np.random.default_rng(radius)
    masks = list(plan_blocks(10**6, radius).masks())
    for _ in range(300):
        flipped = sum(1 << int(bit) for bit in random.choice(BITS, radius, replace=False))
        assert any(mask & flipped == 0 for mask in masks)


def test_more_rows_are_cut_into_longer_keys() -> None:
    keys = [plan_blocks(rows, 3).clean / plan_blocks(rows, 3).blocks for rows in (10**4, 10**7, 10**9)]
    assert keys == sorted(keys)
    assert keys[0] < keys[-1]
