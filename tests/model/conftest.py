"""What the model's tests share: one torch thread, and the port with given weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from model.torchvision_repair import repair_torchvision
from model.videollama3 import VideoLLaMA3

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def transformers_models() -> None:
    """Model classes of transformers can be imported."""
    repair_torchvision()


@pytest.fixture(scope="session")
def port(transformers_models: None) -> Callable[[VideoLLaMA3], Any]:
    """Make transformers' model (sdpa) with the weights of ours."""
    from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration

    def make(model: VideoLLaMA3) -> Any:
        settings = model.config.to_port(dtype="float32")
        reference = VideoLlama3ForConditionalGeneration._from_config(
            VideoLlama3Config(**settings), attn_implementation="sdpa"
        )
        missing, unexpected = reference.load_state_dict(model.state_dict(), strict=False)
        assert not unexpected
        assert missing == (["lm_head.weight"] if model.config.tied else [])
        reference.tie_weights()
        return reference.eval()

    return make
