"""Counting at curation time equals what the trainer's processor makes of the same sample."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curation.batch import Batch
from curation.media.probe import probe_media
from curation.sample import Media, Origin, Turn, make_sample
from curation.tokens import TokenCounter
from model import Processor
from model.geometry import VisualRules
from model.stages import STAGE_RULES
from model.tokenizer import Tokenizer

ORIGIN = Origin(source="test", locator="0", name="0")


def picture(width: int, height: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def clip(directory: Path) -> bytes:
    """Six seconds of which the second half stands still, from the synthetic corpora's encoder."""
    from curation.sources.synthetic.clips import encode_mp4

    rng = np.random.default_rng(0)
    moving = [rng.integers(0, 255, (112, 112, 3), dtype=np.uint8) for _ in range(3)]
    frames = [frame for frame in [*moving, moving[-1], moving[-1], moving[-1]] for _ in range(8)]
    return encode_mp4(frames, fps=8)


@pytest.mark.parametrize("stage", ["stage1", "stage3", "stage4"])
def test_counts_equal_the_processors_tokens(tmp_path: Path, stage: str) -> None:
    rules: VisualRules = STAGE_RULES[stage]
    video, first, second = clip(tmp_path), picture(300, 200), picture(57, 400)
    media = [Media(kind="image", data=first), Media(kind="video", data=video), Media(kind="image", data=second)]
    turns = [
        Turn(role="system", text="Be brief."),
        Turn(role="user", text="<image>\n<video>\nWhat <|im_end|> changes?"),
        Turn(role="assistant", text="Nothing does. It was 3 o'clock."),
        Turn(role="user", text="And <image> here?"),
        Turn(role="assistant", text="A lot."),
    ]
    sample = make_sample(ORIGIN, turns, [probe_media(medium) for medium in media])
    counts = TokenCounter.of("", rules).count(Batch([sample]), 0)

    processor = Processor(tokenizer=Tokenizer.shipped(), rules=rules, placeholder_ids=Processor.tiny().placeholder_ids)
    encoded = processor(sample.turns, images=[first, second], videos=[video])
    assert counts["visual_tokens"] == encoded.keep.size
    assert counts["visual_tokens_kept"] == encoded.keep.sum()
    assert counts["text_tokens"] + counts["visual_tokens_kept"] == encoded.tokens.size
    assert counts["loss_tokens"] == (encoded.labels != -100).sum()
    assert counts["patches"] == len(encoded.patches)
    assert [[g["frames"], g["rows"], g["columns"]] for g in counts["grids"]] == encoded.grids.tolist()
    assert (counts["visual_tokens_kept"] < counts["visual_tokens"]) == rules.prune
