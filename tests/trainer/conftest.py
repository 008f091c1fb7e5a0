"""Datasets that several tests train from."""

from pathlib import Path

import pytest
import torch
from trainer_shards import colour_sample, text_sample, write_dataset


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 samples of two branches in six shards."""
    samples = [colour_sample(n) if n % 3 else text_sample(n) for n in range(96)]
    return write_dataset(tmp_path_factory.mktemp("mixed"), samples)
