"""Generation with a cache against a loop that reads everything again for each token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from random_models import IMAGE, VIDEO, MediumSpec, RandomSample, lively, pack_samples, random_sample, tiny_config

from model.config import ModelConfig
from model.generate import GenerationConfig, generate_tokens, stream_text, stream_tokens, text_pieces
from model.processor import Processor
from model.tokenizer import Tokenizer
from model.videollama3 import VideoLLaMA3

SAMPLES = (
    random_sample([], text=3, seed=1),
    random_sample([MediumSpec(kind="video", grid=(4, 4, 4), merge=2, pruned=0.6)], seed=2),
    random_sample([MediumSpec(kind="image", grid=(1, 3, 5))], text=20, seed=3),
    random_sample([MediumSpec(kind="image", grid=(1, 2, 2)), MediumSpec(kind="video", grid=(2, 3, 3))], seed=4),
)


@pytest.fixture(scope="module")
def model() -> VideoLLaMA3:
    model = lively(VideoLLaMA3(tiny_config(tied=True)))
    with torch.no_grad():
        model.head[[IMAGE, VIDEO]] = 0.0  # never the likeliest: reading again would take an answer for a placeholder
    return model


@torch.inference_mode()
def read_again(model: VideoLLaMA3, sample: RandomSample, length: int) -> list[int]:
    """Greedy tokens without any cache."""
    tokens: list[int] = []
    for _ in range(length):
        extra = torch.tensor(tokens, dtype=torch.int64)
        longer = RandomSample(
            tokens=torch.cat([sample.tokens, extra]),
            labels=torch.cat([sample.labels, extra]),
            patches=sample.patches,
            media=sample.media,
            keeps=sample.keeps,
        )
        tokens.append(int(model.logits(pack_samples([longer]))[-1].argmax()))
    return tokens


def test_conversations_answered_together_equal_each_alone_without_a_cache(model: VideoLLaMA3) -> None:
    wanted = [read_again(model, sample, 16) for sample in SAMPLES]
    assert len({tuple(answer) for answer in wanted}) == len(SAMPLES)
    assert generate_tokens(model, pack_samples(SAMPLES), GenerationConfig(max_new_tokens=16)) == wanted


def test_each_conversation_stops_at_its_own_stop_token(model: VideoLLaMA3) -> None:
    wanted = [read_again(model, sample, 16) for sample in SAMPLES]
    stops = (wanted[0][2], wanted[2][5])
    answers = generate_tokens(model, pack_samples(SAMPLES), GenerationConfig(max_new_tokens=16, stop_token_ids=stops))
    for answer, full in zip(answers, wanted, strict=True):
        ends = [index for index, token in enumerate(full) if token in stops]
        assert answer == full[: ends[0] if ends else None]
    assert len({len(answer) for answer in answers}) > 1


def test_tokens_stream_step_by_step(model: VideoLLaMA3) -> None:
    batch, config = pack_samples(SAMPLES), GenerationConfig(max_new_tokens=5)
    stream = stream_tokens(model, batch, config)
    first = next(stream)
    assert [first[index] for index in range(4)] == [answer[0] for answer in generate_tokens(model, batch, config)]
    assert len(list(stream)) == 4


def test_a_tiny_top_p_is_greedy_and_a_seed_repeats(model: VideoLLaMA3) -> None:
    batch = pack_samples(SAMPLES)

    def draw(**options: Any) -> list[list[int]]:
        return generate_tokens(model, batch, GenerationConfig(max_new_tokens=12, **options))

    assert draw(temperature=1.0, top_p=1e-6) == draw()
    assert draw(temperature=1.0, seed=3) == draw(temperature=1.0, seed=3)
    assert draw(temperature=1.0, seed=3) != draw(temperature=1.0, seed=4)


def test_draws_follow_the_probabilities_inside_top_p(model: VideoLLaMA3) -> None:
    prompt = SAMPLES[0]
    logits = model.logits(pack_samples([prompt]))[-1] / 2.0
    probabilities, order = logits.softmax(0).sort(descending=True)
    inside = int((probabilities.cumsum(0) < 0.5).sum()) + 1
    wanted = torch.zeros(100).index_put((order[:inside],), probabilities[:inside] / probabilities[:inside].sum())
    config = GenerationConfig(max_new_tokens=1, temperature=2.0, top_p=0.5, seed=0)
    drawn = generate_tokens(model, pack_samples([prompt] * 4000), config)
    found = torch.bincount(torch.tensor([tokens[0] for tokens in drawn]), minlength=100) / 4000
    assert set(found.nonzero().flatten().tolist()) <= set(order[:inside].tolist())
    torch.testing.assert_close(found, wanted, atol=0.035, rtol=0)


def test_pieces_of_text_never_end_inside_a_character() -> None:
    tokenizer = Tokenizer.shipped()
    text = "Grüße an 狐狸 \U0001f98a, bitte!"
    tokens = tokenizer.encode(text)
    pieces = list(text_pieces(tokens, tokenizer))
    assert "".join(pieces) == text
    assert 5 < len(pieces) < len(tokens)
    assert all(piece and "\ufffd" not in piece for piece in pieces)
    assert "".join(text_pieces(tokens[:-8], tokenizer)) == tokenizer.decode(tokens[:-8])  # cut off: nothing is lost


@pytest.mark.parametrize("options", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_settings_without_meaning_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="wanted max_new_tokens"):
        GenerationConfig(**options)


def test_a_prompt_without_tokens_is_refused(model: VideoLLaMA3) -> None:
    with pytest.raises(ValueError, match="prompt without tokens"):
        generate_tokens(model, pack_samples([SAMPLES[0], random_sample([], text=0)]))


def test_a_question_about_an_image_and_a_clip_is_answered_in_text() -> None:
    torch.manual_seed(0)
    config = ModelConfig.preset("tiny")
    model, processor = VideoLLaMA3(config), Processor.tiny()
    assert processor.placeholder_ids == (config.image_token_id, config.video_token_id)
    assert len(processor.tokenizer) <= config.language.vocab
    assert 1.2e6 < sum(parameter.numel() for parameter in model.parameters()) < 1.8e6
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    conversation = [{"role": "user", "text": "<image>What is this? Sag es auf Deutsch, mit Umlauten."}]
    options = {"images": [picture], "max_new_tokens": 24, "temperature": 1.0, "seed": 1}
    pieces = list(stream_text(model, processor, conversation, **options))
    text = model.generate(processor, conversation, **options)
    assert "".join(pieces) == text
    assert len(text) > 10
