"""Published layouts in, the port's layout out: bitwise, and loudly wrong where they are wrong."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from random_models import MediumSpec, lively, pack_samples, random_sample, tiny_config
from safetensors.torch import load_file, save_file

from model.checkpoint_files import WeightsError
from model.config import ModelConfig
from model.processor import Processor
from model.videollama3 import VideoLLaMA3

pytestmark = pytest.mark.usefixtures("transformers_models")

ORIGINAL = (
    ("model.vision_model.", "model.vision_encoder."),
    ("model.projector.", "model.mm_projector."),
    ("model.language_model.", "model."),
)
TRAINING = (("model.vision_model.", "model.vision_encoder.vision_encoder."), *ORIGINAL[1:])


def new_model(**changes: Any) -> VideoLLaMA3:
    return lively(VideoLLaMA3(tiny_config(**changes)))


def rename(state: dict[str, torch.Tensor], prefixes: tuple[tuple[str, str], ...]) -> dict[str, torch.Tensor]:
    """The state as the original code names it."""
    renamed = {}
    for name, tensor in state.items():
        old, new = next(((old, new) for old, new in prefixes if name.startswith(old)), ("", ""))
        renamed[new + name[len(old) :]] = tensor
    return renamed


def original_config(config: ModelConfig) -> dict[str, Any]:
    """config.json as the original hub repository has it: language settings flat, vision settings nested."""
    settings = config.to_port(dtype="float32")
    vision = {name: value for name, value in settings["vision_config"].items() if name != "rope_parameters"}
    flat = {name: value for name, value in settings["text_config"].items() if name != "rope_parameters"}
    return flat | {
        "model_type": "videollama3_qwen2",
        "image_token_index": config.image_token_id,
        "rope_theta": config.language.rope_theta,
        "vision_encoder": None,
        "vision_encoder_config": vision,
        "mm_projector_type": "mlp2x_gelu",
        "use_token_compression": True,
    }


def write(directory: Path, config: dict[str, Any], state: dict[str, torch.Tensor]) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file({name: tensor.clone().contiguous() for name, tensor in state.items()}, directory / "model.safetensors")
    return directory


def assert_equal(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shard", [5_000_000_000, 40_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_we_save_transformers_loads_bitwise(tmp_path: Path, tied: bool, shard: int, dtype: torch.dtype) -> None:
    from transformers import VideoLlama3ForConditionalGeneration

    model = new_model(tied=tied, language__rope_theta=5e5).to(dtype)
    model.save_pretrained(tmp_path, max_shard_bytes=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == 40_000)
    reference, info = VideoLlama3ForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    state = dict(reference.state_dict())
    if tied:
        assert torch.equal(state.pop("lm_head.weight"), model.head)
    assert_equal(state, model.state_dict())
    again = VideoLLaMA3.from_pretrained(tmp_path)
    assert again.config == model.config
    assert_equal(again.state_dict(), model.state_dict())


@pytest.mark.parametrize("tied", [True, False])
def test_what_transformers_saves_we_load_bitwise(
    tmp_path: Path, tied: bool, port: Callable[[VideoLLaMA3], Any]
) -> None:
    model = new_model(tied=tied)
    port(model).save_pretrained(tmp_path, max_shard_size="100KB")
    loaded = VideoLLaMA3.from_pretrained(tmp_path)
    assert_equal(loaded.state_dict(), model.state_dict())
    assert (loaded.config.language, loaded.config.vision) == (model.config.language, model.config.vision)


def test_a_saved_directory_keeps_tokens_of_generation_and_the_processor(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, processor = VideoLLaMA3(ModelConfig.preset("tiny")), Processor.tiny()
    model.save_pretrained(tmp_path, processor)
    assert VideoLLaMA3.from_pretrained(tmp_path).config == model.config
    again = Processor.from_pretrained(tmp_path)
    assert (again.rules, again.placeholder_ids) == (processor.rules, processor.placeholder_ids)
    turns = [{"role": "user", "text": "What is red?"}, {"role": "assistant", "text": "A ball."}]
    assert again(turns).tokens.tolist() == processor(turns).tokens.tolist()


HUB = """
import sys
from model import VideoLLaMA3
model = VideoLLaMA3.from_pretrained("someone/small-model")
print(sum(parameter.numel() for parameter in model.parameters()))
try:
    VideoLLaMA3.from_pretrained("someone/unknown")
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_hub_ids_are_found_in_the_local_cache(tmp_path: Path) -> None:
    model, repository = new_model(), tmp_path / "models--someone--small-model"
    model.save_pretrained(repository / "snapshots" / ("a" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", HUB], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    count, error = done.stdout.splitlines()[:2]
    assert int(count) == sum(parameter.numel() for parameter in model.parameters())
    assert error.startswith("someone/unknown: no such directory, and not fetched from the hub")


def test_saving_again_leaves_no_stale_shards(tmp_path: Path) -> None:
    model = new_model()
    model.save_pretrained(tmp_path, max_shard_bytes=40_000)
    model.save_pretrained(tmp_path, dtype=torch.bfloat16)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
    assert VideoLLaMA3.from_pretrained(tmp_path).head.dtype == torch.bfloat16
    assert VideoLLaMA3.from_pretrained(tmp_path, dtype=torch.float32).head.dtype == torch.float32


@pytest.mark.parametrize("prefixes", [ORIGINAL, TRAINING], ids=["original_hub", "training"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_original_layouts_load(
    tmp_path: Path, tied: bool, prefixes: tuple[tuple[str, str], ...], port: Callable[[VideoLLaMA3], Any]
) -> None:
    model = new_model(tied=tied, video_token_id=97)
    state = rename(model.state_dict(), prefixes)
    if tied:
        state["lm_head.weight"] = model.head  # the original's file has a copy of it
    loaded = VideoLLaMA3.from_pretrained(write(tmp_path, original_config(model.config), state))
    assert_equal(loaded.state_dict(), model.state_dict())
    assert loaded.config.image_token_id == loaded.config.video_token_id == 97
    batch = pack_samples([random_sample([MediumSpec(kind="image", grid=(1, 2, 3))])])
    torch.testing.assert_close(loaded.logits(batch), model.logits(batch))


@pytest.mark.parametrize("sharded", [True, False])
def test_pytorch_files_of_bare_tensors_load(tmp_path: Path, sharded: bool) -> None:
    model = new_model()
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_port(dtype="float32")))
    state = model.state_dict()
    if sharded:
        names = list(state)
        homes = {name: f"pytorch_model-{index % 2}.bin" for index, name in enumerate(names)}
        for file in set(homes.values()):
            torch.save({name: state[name] for name in names if homes[name] == file}, tmp_path / file)
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": homes}))
    else:
        torch.save(state, tmp_path / "pytorch_model.bin")
    assert_equal(VideoLLaMA3.from_pretrained(tmp_path).state_dict(), state)


def language_directory(directory: Path, *, tied: bool) -> tuple[Path, Any]:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    language = tiny_config().language
    config = Qwen2Config(
        hidden_size=language.hidden,
        intermediate_size=language.intermediate,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=language.vocab,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=tied,
        eos_token_id=7,
    )
    model = Qwen2ForCausalLM(config)
    model.save_pretrained(directory)
    return directory, model


def siglip_directory(directory: Path, *, whole: bool) -> tuple[Path, Any]:
    from transformers import SiglipConfig, SiglipModel, SiglipVisionConfig, SiglipVisionModel

    vision = tiny_config().vision
    settings = {
        "hidden_size": vision.hidden,
        "intermediate_size": vision.intermediate,
        "num_hidden_layers": vision.layers,
        "num_attention_heads": vision.heads,
        "patch_size": 14,
        "image_size": 56,
    }
    if whole:
        text = {"hidden_size": 48, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        model = SiglipModel(SiglipConfig(vision_config=settings, text_config=text | {"vocab_size": 50}))
    else:
        model = SiglipVisionModel(SiglipVisionConfig(**settings))
    model.save_pretrained(directory)
    return directory, model


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_stage_1_starts_from_qwen_and_siglip(
    tmp_path: Path, tied: bool, whole: bool, caplog: pytest.LogCaptureFixture
) -> None:
    language, qwen = language_directory(tmp_path / "language", tied=tied)
    vision, siglip = siglip_directory(tmp_path / "vision", whole=whole)
    with caplog.at_level(logging.WARNING):
        model = VideoLLaMA3.from_parts(language=language, vision=vision, image_token_id=97, video_token_id=98)
    assert "position table" in caplog.text
    assert "pooling head" in caplog.text
    assert (model.config.tied, model.config.stop_token_ids) == (tied, (7,))
    stored = load_file(vision / "model.safetensors")
    found = {name.removeprefix("model.vision_model."): tensor for name, tensor in model.state_dict().items()}
    kept = {name.removeprefix("vision_model."): tensor for name, tensor in stored.items()}
    kept = {name: tensor for name, tensor in kept.items() if name.startswith(("embeddings.patch", "encoder", "post_l"))}
    assert len(kept) == sum(1 for _ in model.vision.parameters())
    for name, tensor in kept.items():
        assert torch.equal(found[name], tensor), name

    batch = pack_samples([random_sample([])])  # the language model alone is the Qwen it came from
    torch.testing.assert_close(model.logits(batch), qwen(batch.tokens[None]).logits[0], atol=1e-5, rtol=1e-5)
    batch = pack_samples([random_sample([MediumSpec(kind="image", grid=(1, 2, 3))])])
    model.loss(batch)[0].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert 0.015 < model.projector.state_dict()["readout.2.weight"].std() < 0.025
    assert siglip.config is not None


@pytest.mark.parametrize(
    "prefix", ["", "vision_encoder.", "model.vision_encoder.", "model.vision_encoder.vision_encoder."]
)
def test_stage_1_starts_from_a_navit_encoder(tmp_path: Path, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    language, _ = language_directory(tmp_path / "language", tied=True)
    source = new_model()
    state = {prefix + name: tensor for name, tensor in source.vision.state_dict().items()}
    config = source.config.to_port(dtype="float32")["vision_config"] | {"model_type": "videollama3_vision_encoder"}
    vision = write(tmp_path / "vision", config, state)
    model = VideoLLaMA3.from_parts(language=language, vision=vision, image_token_id=97, video_token_id=98)
    assert_equal(model.vision.state_dict(), source.vision.state_dict())
    assert not caplog.records


def test_stage_1_starts_from_the_encoder_of_a_whole_model(tmp_path: Path) -> None:
    language, _ = language_directory(tmp_path / "language", tied=True)
    source = new_model()
    source.save_pretrained(tmp_path / "whole")
    model = VideoLLaMA3.from_parts(
        language=language, vision=tmp_path / "whole", image_token_id=97, video_token_id=98, dtype=None
    )
    assert_equal(model.vision.state_dict(), source.vision.state_dict())


def test_one_error_lists_all_keys_that_are_wrong(tmp_path: Path) -> None:
    model = new_model()
    state = dict(model.state_dict())
    del state["model.projector.readout.0.bias"], state["lm_head.weight"]
    state["model.surprise"] = torch.zeros(1)
    state["model.language_model.norm.weight"] = torch.zeros(3)
    directory = write(tmp_path, model.config.to_port(dtype="float32"), state)
    with pytest.raises(WeightsError) as error:
        VideoLLaMA3.from_pretrained(directory)
    text = str(error.value)
    assert "2 missing: lm_head.weight, model.projector.readout.0.bias;" in text
    assert "1 unexpected: model.surprise;" in text
    assert "1 of another shape: model.language_model.norm.weight (found [3], wanted [64])." in text


def test_a_tied_model_with_another_head_is_refused(tmp_path: Path) -> None:
    model = new_model(tied=True)
    state = model.state_dict() | {"lm_head.weight": model.head + 1}
    with pytest.raises(WeightsError, match=r"ties the head .* differs"):
        VideoLLaMA3.from_pretrained(write(tmp_path, model.config.to_port(dtype="float32"), state))


def test_mixed_layouts_and_integer_weights_are_refused(tmp_path: Path) -> None:
    model = new_model()
    state = dict(model.state_dict())
    twice = state | {"model.mm_projector.readout.0.bias": state["model.projector.readout.0.bias"]}
    with pytest.raises(WeightsError, match=r"mixes layouts.*mm_projector\.readout\.0\.bias"):
        VideoLLaMA3.from_pretrained(write(tmp_path, model.config.to_port(dtype="float32"), twice))
    name = "model.language_model.norm.weight"
    state[name] = state[name].to(torch.int8)
    with pytest.raises(WeightsError, match=r"int8; wanted floats"):
        VideoLLaMA3.from_pretrained(write(tmp_path, model.config.to_port(dtype="float32"), state))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code ran')",))


def test_hostile_files_are_refused(tmp_path: Path) -> None:
    model = new_model()
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_port(dtype="float32")))
    with pytest.raises(WeightsError, match="found none of"):
        VideoLLaMA3.from_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Bomb()}))
    with pytest.raises(WeightsError, match="bare tensors"):
        VideoLLaMA3.from_pretrained(tmp_path)
    torch.save({"x": Bomb()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="bare tensors"):
        VideoLLaMA3.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(WeightsError, match="not readable as safetensors"):
        VideoLLaMA3.from_pretrained(tmp_path)
    for name in ("../outside.safetensors", "/etc/passwd", "missing.safetensors", "code.py"):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
        with pytest.raises(WeightsError, match="names"):
            VideoLLaMA3.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no such directory"):
        VideoLLaMA3.from_pretrained(tmp_path / "nothing" / "here")


def test_a_state_that_is_not_the_models_is_not_saved(tmp_path: Path) -> None:
    model = new_model()
    state = {name: tensor for name, tensor in model.state_dict().items() if "projector" not in name}
    with pytest.raises(WeightsError, match=r"4 missing: model\.projector"):
        model.save_pretrained(tmp_path, state=state)
    assert not list(tmp_path.glob("*.safetensors"))
