"""Config files: config.json of the port, of the original release, and of the parts that stage 1 starts from.

Only what this model computes is taken: another activation, rotation or attention is refused, never ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.config import LanguageConfig, ModelConfig, VisionConfig

_MAX_CONFIG_BYTES = 16 << 20


def read_config(directory: Path) -> ModelConfig:
    """The model that a `video_llama_3` or an original VideoLLaMA3 directory holds. ValueError when it is neither."""
    path = directory / "config.json"
    settings = read_json(path)
    kind = settings.get("model_type")
    if kind == "video_llama_3":
        config = _from_port(settings)
    elif kind in ("videollama3_qwen2", "videollama3"):
        config = _from_original(settings)
    else:
        raise ValueError(
            f"{path}: model_type is {kind!r}; wanted 'video_llama_3' or 'videollama3_qwen2'. "
            "For a plain language model and a vision encoder use VideoLLaMA3.from_parts"
        )
    return _with_generation(config, directory / "generation_config.json")


def join_configs(language: Path, vision: Path, *, image_token_id: int, video_token_id: int) -> ModelConfig:
    """The model that a plain Qwen2.5 directory and a vision encoder's directory make together."""
    text, sight = read_json(language / "config.json"), read_json(vision / "config.json")
    if text.get("model_type") != "qwen2":
        raise ValueError(f"{language}: model_type is {text.get('model_type')!r}; wanted a plain Qwen2.5 ('qwen2')")
    config = ModelConfig(
        vision=vision_from(_section(sight, "vision_config", "vision_encoder_config") or sight),
        language=language_from(text),
        image_token_id=image_token_id,
        video_token_id=video_token_id,
        tied=bool(text.get("tie_word_embeddings")),
        **_token_ids(text),
    )
    return _with_generation(config, language / "generation_config.json")


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object from a file. ValueError when it is missing, huge, or no JSON object."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file. Give a directory that holds a saved model")
    if path.stat().st_size > _MAX_CONFIG_BYTES:
        raise ValueError(
            f"{path}: {path.stat().st_size:,} bytes; wanted at most {_MAX_CONFIG_BYTES:,}. Replace the file"
        )
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}). Replace the file") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: found a {type(settings).__name__}; wanted a JSON object. Replace the file")
    return settings


def language_from(settings: Mapping[str, Any]) -> LanguageConfig:
    """Language sizes out of a Qwen2 config. ValueError on settings that would compute something else."""
    _refuse("hidden_act", settings.get("hidden_act", "silu"), "silu")
    if settings.get("use_sliding_window"):
        raise ValueError("text config: use_sliding_window is set; only full attention is supported. Use another model")
    heads = _need(settings, "num_attention_heads")
    return LanguageConfig(
        hidden=_need(settings, "hidden_size"),
        intermediate=_need(settings, "intermediate_size"),
        layers=_need(settings, "num_hidden_layers"),
        heads=heads,
        kv_heads=settings.get("num_key_value_heads") or heads,
        vocab=_need(settings, "vocab_size"),
        head_dim=settings.get("head_dim") or _need(settings, "hidden_size") // max(heads, 1),
        norm_eps=settings.get("rms_norm_eps", 1e-6),
        rope_theta=_rope_theta(settings, kinds=("default",), otherwise=10000.0),
        max_positions=settings.get("max_position_embeddings", 32768),
    )


def vision_from(settings: Mapping[str, Any]) -> VisionConfig:
    """Vision sizes out of a SigLIP, SigLIP-NaViT or port vision config; absent ones are those of so400m."""
    _refuse("hidden_act", settings.get("hidden_act", "gelu_pytorch_tanh"), "gelu_pytorch_tanh")
    default = VisionConfig()
    return VisionConfig(
        hidden=settings.get("hidden_size", default.hidden),
        intermediate=settings.get("intermediate_size", default.intermediate),
        layers=settings.get("num_hidden_layers", default.layers),
        heads=settings.get("num_attention_heads", default.heads),
        channels=settings.get("num_channels", default.channels),
        patch=settings.get("patch_size", default.patch),
        norm_eps=settings.get("layer_norm_eps", default.norm_eps),
        rope_theta=_rope_theta(settings, kinds=("axial", "default"), otherwise=default.rope_theta),
    )


def _from_port(settings: Mapping[str, Any]) -> ModelConfig:
    text = _section(settings, "text_config") or {}
    return ModelConfig(
        vision=vision_from(_section(settings, "vision_config") or {}),
        language=language_from(text),
        image_token_id=settings.get("image_token_id", 151655),
        video_token_id=settings.get("video_token_id", 151656),
        tied=bool(settings.get("tie_word_embeddings") or text.get("tie_word_embeddings")),
        **_token_ids(text),
    )


def _from_original(settings: Mapping[str, Any]) -> ModelConfig:
    """The original keeps the Qwen2 settings flat and has one placeholder for images and frames."""
    placeholder = _need(settings, "image_token_index")
    return ModelConfig(
        vision=vision_from(_section(settings, "vision_encoder_config") or {}),
        language=language_from(settings),
        image_token_id=placeholder,
        video_token_id=placeholder,
        tied=bool(settings.get("tie_word_embeddings")),
        **_token_ids(settings),
    )


def _with_generation(config: ModelConfig, path: Path) -> ModelConfig:
    """What generation_config.json says of tokens goes before config.json: it lists all stop tokens."""
    if not path.is_file():
        return config
    settings = read_json(path)
    return replace(config, **{name: value for name, value in _token_ids(settings).items() if value not in (None, ())})


def _token_ids(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Begin, padding and stop tokens; the stop may be one id or a list."""
    stops = settings.get("eos_token_id")
    found = {
        "bos_token_id": settings.get("bos_token_id"),
        "pad_token_id": settings.get("pad_token_id"),
        "stop_token_ids": tuple(stops) if isinstance(stops, list) else () if stops is None else (stops,),
    }
    for token in (found["bos_token_id"], found["pad_token_id"], *found["stop_token_ids"]):
        if token is not None and not isinstance(token, int):
            raise ValueError(f"config: found {token!r} as a begin, padding or stop token; wanted an id. Fix the file")
    return found


def _section(settings: Mapping[str, Any], *names: str) -> Mapping[str, Any] | None:
    """The first of these nested groups of settings that is there."""
    for name in names:
        section = settings.get(name)
        if section is not None:
            if not isinstance(section, dict):
                raise ValueError(f"config.json: {name} is {section!r}; wanted a group of settings. Fix the file")
            return section
    return None


def _need(settings: Mapping[str, Any], name: str) -> Any:
    if settings.get(name) is None:
        raise ValueError(f"config.json: {name} is missing. Add it, or use a directory saved by a training run")
    return settings[name]


def _refuse(name: str, found: object, wanted: str) -> None:
    if found != wanted:
        raise ValueError(f"config.json: {name} is {found!r}; wanted {wanted!r}. This model computes nothing else")


def _rope_theta(settings: Mapping[str, Any], *, kinds: tuple[str, ...], otherwise: float) -> float:
    """Base of the rotation. New files nest it, old ones have it flat; other kinds of rotation are refused."""
    rope = _section(settings, "rope_parameters", "rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type") or kinds[0]
    if kind not in kinds:
        raise ValueError(f"config.json: rope type is {kind!r}; wanted {kinds[0]!r}. This model computes nothing else")
    return float(rope.get("rope_theta") or settings.get("rope_theta") or otherwise)
