"""The model against transformers' VideoLlama3ForConditionalGeneration, and packs against each sample alone."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from random_models import IMAGE, VIDEO, MediumSpec, lively, pack_samples, port_inputs, random_sample, tiny_config

from model.config import ModelConfig
from model.generate import GenerationConfig, generate_tokens
from model.videollama3 import VideoLLaMA3


def image(rows: int, columns: int, merge: int = 1) -> MediumSpec:
    return MediumSpec(kind="image", grid=(1, rows, columns), merge=merge)


def video(frames: int, rows: int, columns: int, merge: int = 2, pruned: float = 0.0) -> MediumSpec:
    return MediumSpec(kind="video", grid=(frames, rows, columns), merge=merge, pruned=pruned)


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    media: tuple[MediumSpec, ...] = ()
    changes: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case(name="text", changes={"tied": True}),
    Case(name="image", media=(image(4, 6),)),
    Case(name="odd_grid", media=(image(5, 7),), changes={"tied": True, "language__kv_heads": 1}),
    Case(name="merged_image", media=(image(4, 6, merge=2),), changes={"language__kv_heads": 4}),
    Case(name="several_images", media=(image(3, 5), image(2, 2), image(7, 1)), changes={"vision__heads": 4}),
    Case(name="mixed_merges", media=(image(3, 5), image(4, 8, merge=2), image(1, 1)), changes={"tied": True}),
    Case(name="video", media=(video(3, 4, 4),), changes={"language__head_dim": 32}),
    Case(name="pruned_video", media=(video(5, 4, 6, pruned=0.6),), changes={"tied": True, "vision__layers": 3}),
    Case(name="video_merge_1", media=(video(2, 3, 5, merge=1, pruned=0.3),), changes={"language__layers": 3}),
    Case(name="two_videos", media=(video(2, 2, 4, pruned=0.5), video(4, 6, 2)), changes={"vision__intermediate": 50}),
    Case(name="image_and_video", media=(image(3, 3), video(3, 4, 4, pruned=0.4)), changes={"tied": True}),
    Case(name="video_then_images", media=(video(2, 4, 2), image(2, 6, merge=2), image(5, 3)), changes={}),
    Case(name="merge_4", media=(image(8, 4, merge=4), video(2, 6, 3, merge=3)), changes={"language__rope_theta": 1e4}),
    Case(name="no_grouping", media=(image(2, 3),), changes={"language__heads": 2, "language__hidden": 40}),
)
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def build(case: Case, seed: int) -> VideoLLaMA3:
    return lively(VideoLLaMA3(tiny_config(**case.changes)), seed)


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm().clamp_min(1e-12)).item()


@cases
def test_logits_and_gradients_equal_the_port(case: Case, port: Any) -> None:
    seed = CASES.index(case)
    model, sample = build(case, seed), random_sample(case.media, seed=seed)
    reference = port(model)
    batch = pack_samples([sample])
    wanted = reference(**port_inputs(sample), labels=sample.labels[None])
    torch.testing.assert_close(model.logits(batch), wanted.logits[0], atol=1e-4, rtol=0)
    assert wanted.logits.std() > 0.1  # weights that say something
    total, count = model.loss(batch)
    torch.testing.assert_close(total / count, wanted.loss, atol=1e-5, rtol=1e-5)
    (total / count).backward()
    wanted.loss.backward()
    gradients = {name: parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in model.named_parameters():
        if gradients[name] is None:
            assert parameter.grad is None, name
        else:
            assert relative(parameter.grad, gradients[name]) < 1e-4, name


@cases
def test_greedy_generation_equals_the_port(case: Case, port: Any) -> None:
    seed = 100 + CASES.index(case)
    model, sample = build(case, seed), random_sample(case.media, seed=seed)
    with torch.inference_mode():
        wanted = port(model).generate(**port_inputs(sample), max_new_tokens=32, do_sample=False)
    answers = generate_tokens(model, pack_samples([sample]), GenerationConfig(max_new_tokens=32))
    assert answers == [wanted[0, len(sample.tokens) :].tolist()]


def random_case(seed: int) -> Case:
    """Sizes, media and pruning drawn at random."""
    rng = random.Random(seed)
    kv_heads, vision_heads = rng.choice([1, 2, 3]), rng.choice([1, 2, 3, 4])
    media = []
    for _ in range(rng.randint(0, 4)):
        merge = rng.choice([1, 2, 3])
        rows, columns = merge * rng.randint(1, 4), merge * rng.randint(1, 4)
        clip = video(rng.randint(1, 4), rows, columns, merge, pruned=rng.choice([0.0, 0.3, 0.8]))
        media.append(rng.choice([image(rows, columns, merge), clip]))
    changes = {
        "tied": rng.random() < 0.5,
        "language__heads": kv_heads * rng.choice([1, 2, 3]),
        "language__kv_heads": kv_heads,
        "language__head_dim": rng.choice([8, 16, 24]),
        "language__hidden": rng.choice([32, 48, 72]),
        "language__layers": rng.choice([1, 2, 3]),
        "vision__heads": vision_heads,
        "vision__hidden": vision_heads * rng.choice([8, 12, 16]),
        "vision__layers": rng.choice([1, 2, 3]),
    }
    return Case(name=str(seed), media=tuple(media), changes=changes)


@pytest.mark.parametrize("seed", range(16))
def test_random_models_and_inputs_equal_the_port(seed: int, port: Any) -> None:
    case = random_case(seed)
    model, sample = build(case, seed), random_sample(case.media, seed=seed)
    wanted = port(model)(**port_inputs(sample), labels=sample.labels[None])
    torch.testing.assert_close(model.logits(pack_samples([sample])), wanted.logits[0], atol=1e-4, rtol=0)
    total, count = model.loss(pack_samples([sample]))
    torch.testing.assert_close(total / count, wanted.loss, atol=1e-5, rtol=1e-5)


def packed_samples() -> list[Any]:
    return [
        random_sample(case.media, text=4 + seed, seed=seed)
        for seed, case in enumerate(CASES)
        if case.name in ("text", "odd_grid", "mixed_merges", "pruned_video", "image_and_video", "several_images")
    ]


@pytest.mark.parametrize("tied", [True, False])
def test_a_pack_equals_each_sample_alone(tied: bool) -> None:
    model, samples = lively(VideoLLaMA3(tiny_config(tied=tied))), packed_samples()
    together = model.logits(pack_samples(samples))
    alone = torch.cat([model.logits(pack_samples([sample])) for sample in samples])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)

    total, count = model.loss(pack_samples(samples))
    total.backward()
    packed = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    sums = [model.loss(pack_samples([sample])) for sample in samples]
    torch.stack([part for part, _ in sums]).sum().backward()
    assert count == sum(number for _, number in sums)
    for name, parameter in model.named_parameters():
        assert relative(packed[name], parameter.grad) < 1e-5, name


def test_sequences_of_a_pack_do_not_see_each_other() -> None:
    model, samples = lively(VideoLLaMA3(tiny_config())), packed_samples()
    batch = pack_samples(samples)
    before = model.logits(batch)
    samples[0].tokens.add_(1)
    after = model.logits(pack_samples(samples))
    first = batch.sequence_lengths[0]
    assert not torch.equal(before[:first], after[:first])
    torch.testing.assert_close(before[first:], after[first:], atol=1e-6, rtol=0)


def test_raw_pixels_are_normalised_on_the_device() -> None:
    model, sample = lively(VideoLLaMA3(tiny_config())), random_sample((image(3, 4),))
    raw = torch.randint(0, 256, (12, 588), dtype=torch.uint8)
    sample.patches.copy_((raw / 255 - 0.5) / 0.5)
    floats = pack_samples([sample])
    bytes_ = pack_samples([type(sample)(**{**sample.__dict__, "patches": raw})])
    torch.testing.assert_close(model.logits(bytes_), model.logits(floats), atol=1e-5, rtol=0)


def test_one_placeholder_for_both_kinds_gives_the_same_logits() -> None:
    model = lively(VideoLLaMA3(tiny_config()))
    sample = random_sample((image(3, 3), video(2, 4, 4)))
    wanted = model.logits(pack_samples([sample]))
    original = VideoLLaMA3(tiny_config(video_token_id=IMAGE))
    original.load_state_dict(model.state_dict())
    sample.tokens[sample.tokens == VIDEO] = IMAGE
    torch.testing.assert_close(original.logits(pack_samples([sample])), wanted)


def test_touching_the_vision_encoder_changes_nothing_and_gives_exact_zeros() -> None:
    model, batch = lively(VideoLLaMA3(tiny_config(tied=True))), pack_samples([random_sample(())])
    plain, _ = model.loss(batch)
    plain.backward()
    wanted = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    touched, _ = model.loss(batch, touch_vision=True)
    touched.backward()
    assert torch.equal(touched, plain)
    for name, parameter in model.named_parameters():
        if wanted[name] is None:
            assert parameter.grad is not None, name
            assert torch.count_nonzero(parameter.grad) == 0, name
        else:
            torch.testing.assert_close(parameter.grad, wanted[name])
    assert any(wanted[name] is None for name in wanted)


def test_token_losses_add_up_and_say_which_answers_are_right() -> None:
    model, batch = lively(VideoLLaMA3(tiny_config())), pack_samples(packed_samples())
    found = model.token_losses(batch)
    logits = model.logits(batch)[batch.predictors]
    targets = batch.labels[batch.predictors + 1]
    torch.testing.assert_close(found.losses, torch.nn.functional.cross_entropy(logits, targets, reduction="none"))
    torch.testing.assert_close(found.total, found.losses.sum())
    assert torch.equal(found.correct, logits.argmax(1) == targets)


def test_a_pack_without_supervision_has_zero_loss_and_zero_gradients() -> None:
    model, sample = lively(VideoLLaMA3(tiny_config())), random_sample((image(2, 2),))
    sample.labels.fill_(-100)
    total, count = model.loss(pack_samples([sample]))
    total.backward()
    assert (total.item(), count) == (0.0, 0)
    assert all(torch.count_nonzero(parameter.grad) == 0 for parameter in model.parameters())


def test_placeholders_that_do_not_match_the_visual_tokens_are_refused() -> None:
    sample = random_sample((image(2, 2),))
    sample.tokens[-1] = IMAGE
    with pytest.raises(ValueError, match=r"found 5 placeholders .* wanted 4"):
        VideoLLaMA3(tiny_config()).logits(pack_samples([sample]))


def test_training_in_16_bits_stays_close_to_32() -> None:
    model, batch = lively(VideoLLaMA3(tiny_config())), pack_samples(packed_samples())
    wanted, _ = model.loss(batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, _ = model.loss(batch)
    mixed.backward()
    half, _ = model.to(torch.bfloat16).loss(batch)
    half.backward()
    assert relative(mixed, wanted) < 0.02
    assert relative(half, wanted) < 0.02
    assert half.dtype == torch.float32


@pytest.mark.parametrize(("name", "parameters"), [("2b", 1_959_993_584), ("7b", 8_044_744_944)])
def test_presets_have_the_published_number_of_parameters(name: Any, parameters: int) -> None:
    with torch.device("meta"):
        model = VideoLLaMA3(ModelConfig.preset(name))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
