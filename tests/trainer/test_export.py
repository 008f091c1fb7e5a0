"""What is trained here against transformers' own model, in both directions."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_shards import colour_image, colour_sample, write_dataset

from model import Processor, VideoLLaMA3, pack
from model.torchvision_repair import repair_torchvision
from trainer.start import fresh_model, read_model
from trainer.train import Settings, train

SMALL: dict[str, Any] = {"pack_tokens": 256, "pack_patches": 512, "step_packs": 1}
TURNS = [{"role": "user", "content": "<image>\nWhat is the colour?"}, {"role": "assistant", "content": "It is red."}]


def port_logits(directory: Path, processor: Processor) -> tuple[torch.Tensor, torch.Tensor]:
    """transformers' logits for one sample, and ours of what was encoded for it by the model in `directory`."""
    repair_torchvision()
    from transformers import VideoLlama3ForConditionalGeneration

    port = VideoLlama3ForConditionalGeneration.from_pretrained(directory, dtype=torch.float32).eval()
    encoded = processor(TURNS, images=[colour_image("red", 84, 112)[0]])
    with torch.inference_mode():
        found = port(
            input_ids=torch.from_numpy(encoded.tokens)[None],
            pixel_values=torch.from_numpy(encoded.patches).float().div(255).sub(0.5).div(0.5),
            image_grid_thw=torch.from_numpy(encoded.grids),
            image_merge_sizes=torch.from_numpy(encoded.merges),
        ).logits[0]
        ours, _ = read_model(directory)
        return found, ours.eval().logits(pack([encoded]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_trained_model_gives_the_same_logits_in_transformers_and_one_of_theirs_trains_here(tmp_path: Path) -> None:
    shards = write_dataset(tmp_path / "shards", [colour_sample(n) for n in range(24)])
    train(Settings(stage="stage3", shards=(shards,), out=tmp_path / "out", steps=3, changes=SMALL))
    found, ours = port_logits(tmp_path / "out" / "model", Processor.tiny())
    torch.testing.assert_close(found, ours, rtol=1e-4, atol=1e-4)

    from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration

    model, processor = fresh_model("tiny", seed=0)
    torch.manual_seed(9)  # weights that transformers makes, saved by transformers
    port = VideoLlama3ForConditionalGeneration._from_config(VideoLlama3Config(**model.config.to_port(dtype="float32")))
    processor.save_pretrained(tmp_path / "theirs")
    port.save_pretrained(tmp_path / "theirs")
    found, ours = port_logits(tmp_path / "theirs", processor)
    torch.testing.assert_close(found, ours, rtol=1e-4, atol=1e-4)
    run = Settings(
        stage="stage3", shards=(shards,), out=tmp_path / "on", init=str(tmp_path / "theirs"), steps=25, changes=SMALL
    )
    train(run)
    lines = [json.loads(line)["loss"] for line in (tmp_path / "on" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0] > 8.0
    assert lines[-1] < 5.0
    assert VideoLLaMA3.from_pretrained(tmp_path / "on" / "model").config.language == model.config.language
