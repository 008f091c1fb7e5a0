import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.packing import pack_windows

LIMITS = {"max_tokens": 1000, "max_patches": 3000}


def lengths(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    tokens = np.clip(random.lognormal(4.2, 0.9, number), 5, 1000).astype(np.int64)
    share = random.choice([0.0, 0.8, 4.0], number, p=[0.3, 0.6, 0.1])
    return tokens, np.minimum(tokens * share, 3000).astype(np.int64)


@settings(max_examples=30, deadline=None)
@given(
    samples=st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 3000)), max_size=60),
    window=st.integers(1, 20),
)
def test_packing_places_every_sample_once_within_both_limits(samples: list[tuple[int, int]], window: int) -> None:
    tokens, patches = np.array(samples, np.int64).reshape(-1, 2).T
    packs = pack_windows(tokens, patches, **LIMITS, window=window)
    assert len(packs) == len(samples)
    assert sorted(set(packs.tolist())) == list(range(len(set(packs.tolist()))))
    assert np.bincount(packs, tokens).max(initial=0) <= 1000
    assert np.bincount(packs, patches).max(initial=0) <= 3000


def test_packing_leaves_at_most_one_percent_empty() -> None:
    tokens, patches = lengths(20_000)
    packs = pack_windows(tokens, patches, **LIMITS, window=1024)
    fullest = np.maximum(np.bincount(packs, tokens) / 1000, np.bincount(packs, patches) / 3000)
    assert fullest.mean() > 0.99
    lower = max(tokens.sum() / 1000, patches.sum() / 3000)
    assert packs.max() + 1 <= 1.03 * lower


def test_packing_equals_a_plain_best_fit_decreasing_in_one_dimension() -> None:
    tokens, _ = lengths(300, seed=3)
    packs = pack_windows(tokens, np.zeros_like(tokens), **LIMITS, window=300)
    bins: list[list[int]] = []
    for index in np.argsort(-tokens, kind="stable"):
        room = [1000 - sum(tokens[i] for i in one) for one in bins]
        fitting = [(left, number) for number, left in enumerate(room) if left >= tokens[index]]
        if fitting:
            bins[min(fitting)[1]].append(index)
        else:
            bins.append([index])
    assert packs.max() + 1 == len(bins)
    assert sorted(np.bincount(packs, tokens).astype(int).tolist()) == sorted(
        sum(int(tokens[i]) for i in one) for one in bins
    )


@pytest.mark.parametrize("number", [0, 1, 2])
def test_packing_of_few_samples_needs_no_window(number: int) -> None:
    tokens = np.full(number, 400, np.int64)
    assert pack_windows(tokens, tokens * 0, **LIMITS, window=1024).tolist() == [0] * number
