"""The loop closes: what the small captioner and encoder make of a noisy corpus teaches more than the corpus does."""

from pathlib import Path

import pytest
import torch

from examples.closed_loop import close


@pytest.mark.slow
def test_training_on_the_curated_corpus_beats_the_same_steps_on_it_as_it_is(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    found = close(tmp_path, samples=300, steps=60, seed=0, held_out=80)
    assert found["curated"]["whole"] > found["uncurated"]["whole"]
