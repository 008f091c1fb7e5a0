"""Configs against the port's own reading of them, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from random_models import tiny_config

from model.config import LanguageConfig, ModelConfig, VisionConfig


@pytest.mark.parametrize("name", ["2b", "7b", "tiny"])
def test_the_port_reads_a_preset_as_we_do(name: Any, tmp_path: Path, transformers_models: None) -> None:
    from transformers import VideoLlama3Config

    config = ModelConfig.preset(name)
    (tmp_path / "config.json").write_text(json.dumps(config.to_port(dtype="bfloat16")))
    port = VideoLlama3Config.from_pretrained(tmp_path)
    text, vision = port.text_config, port.vision_config
    assert (text.hidden_size, text.num_hidden_layers) == (config.language.hidden, config.language.layers)
    assert text.rope_parameters["rope_theta"] == config.language.rope_theta
    assert vision.hidden_size // vision.num_attention_heads == config.vision.head_dim
    assert port.tie_word_embeddings == config.tied
    port.save_pretrained(tmp_path)
    again = ModelConfig.from_pretrained(tmp_path)
    assert (again.vision, again.language, again.tied) == (config.vision, config.language, config.tied)


@pytest.mark.parametrize("name", ["2b", "7b", "tiny"])
def test_a_saved_directory_gives_the_whole_config_back(name: Any, tmp_path: Path) -> None:
    config = ModelConfig.preset(name)
    (tmp_path / "config.json").write_text(json.dumps(config.to_port(dtype="bfloat16")))
    generation = {"eos_token_id": list(config.stop_token_ids), "pad_token_id": config.pad_token_id}
    (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert ModelConfig.from_pretrained(tmp_path) == config


def test_the_original_hub_config_is_read(tmp_path: Path) -> None:
    """The published 7B file, cut to what matters."""
    settings = {
        "model_type": "videollama3_qwen2",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "rope_scaling": None,
        "rms_norm_eps": 1e-06,
        "hidden_act": "silu",
        "use_sliding_window": False,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "image_token_index": 151665,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "vision_encoder": None,
        "vision_encoder_config": {"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16},
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    config, preset = ModelConfig.from_pretrained(tmp_path), ModelConfig.preset("7b")
    assert (config.language, config.vision, config.tied) == (preset.language, preset.vision, False)
    assert (config.image_token_id, config.video_token_id, config.stop_token_ids) == (151665, 151665, (151645,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llava"}, "model_type is 'llava'"),
        ({"text_config": {}}, "is missing"),
        ({"text_config.hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"text_config.use_sliding_window": True}, "use_sliding_window"),
        ({"text_config.rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "rope type is 'yarn'"),
        ({"text_config.num_hidden_layers": 10**9}, "layers is 1000000000"),
        ({"text_config.hidden_size": -4}, "hidden is -4"),
        ({"text_config.vocab_size": "many"}, "vocab is 'many'"),
        ({"text_config.num_key_value_heads": 3}, "3 key-value heads"),
        ({"vision_config.num_attention_heads": 5}, "over 5 heads"),
        ({"vision_config.hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"text_config": [1]}, "text_config is"),
        ({"text_config.eos_token_id": ["</s>"]}, "as a begin, padding or stop token"),
        ({"image_token_id": 5000}, "image_token_id is 5000"),
    ],
)
def test_configs_of_another_model_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    settings = tiny_config().to_port(dtype="float32")
    for path, value in change.items():
        *parents, name = path.split(".")
        target = settings[parents[0]] if parents else settings
        target[name] = value
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe"])
def test_broken_config_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json: "):
        ModelConfig.from_pretrained(tmp_path)


def test_unknown_presets_and_missing_directories_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="presets are"):
        ModelConfig.preset("3b")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="no such file"):
        ModelConfig.from_pretrained(tmp_path / "nothing")


def test_configs_compare_by_value() -> None:
    assert replace(tiny_config(), tied=True) == tiny_config(tied=True) != tiny_config()
    assert VisionConfig().head_dim == 72
    assert LanguageConfig(hidden=8, intermediate=8, layers=1, heads=2, kv_heads=1, vocab=9).rope_theta == 1e6


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, model, model.config\n"
        "model.ModelConfig.preset('2b'); model.ModelConfig.preset('tiny')\n"
        "assert not {'torch', 'ray', 'transformers', 'safetensors'} & set(sys.modules), 'heavy import'\n"
        "assert set(model.__all__) <= set(dir(model))\n"
        "from model import VideoLLaMA3, pack\n"
        "assert 'torch' in sys.modules and 'transformers' not in sys.modules\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
