"""Tiny random models and samples, and samples in the terms of transformers' port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.batch import PackedBatch
from model.config import LanguageConfig, ModelConfig, VisionConfig
from model.videollama3 import VideoLLaMA3

IMAGE, VIDEO, VOCAB = 97, 98, 100


@dataclass(frozen=True, kw_only=True)
class MediumSpec:
    """One medium of a random sample; `pruned` is the share of visual tokens left out."""

    kind: str
    grid: tuple[int, int, int]
    merge: int = 1
    pruned: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class RandomSample:
    """One sequence with everything a pack needs, on the CPU."""

    tokens: Tensor
    labels: Tensor
    patches: Tensor
    media: tuple[MediumSpec, ...]
    keeps: tuple[Tensor, ...]


def tiny_config(**changes: Any) -> ModelConfig:
    """A model of about 0.1 M parameters; `language` and `vision` changes go by prefix."""
    language = {
        "hidden": 64,
        "intermediate": 96,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "vocab": VOCAB,
        "head_dim": 16,
    }
    vision = {"hidden": 48, "intermediate": 64, "layers": 2, "heads": 3}
    rest = {"image_token_id": IMAGE, "video_token_id": VIDEO, "stop_token_ids": (), "bos_token_id": None}
    for name, value in changes.items():
        part, _, field = name.partition("__")
        if part == "language":
            language[field] = value
        elif part == "vision":
            vision[field] = value
        else:
            rest[name] = value
    return ModelConfig(language=LanguageConfig(**language), vision=VisionConfig(**vision), pad_token_id=None, **rest)


def lively(model: VideoLLaMA3, seed: int = 0) -> VideoLLaMA3:
    """The model with weights large enough that every part of it shows in the logits, norms and biases too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            base = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            spread = 0.2 if parameter.ndim == 1 else 1.2 * parameter[0].numel() ** -0.5
            parameter.copy_(base + spread * noise)
    return model


def random_sample(media: Sequence[MediumSpec], *, text: int = 9, seed: int = 0) -> RandomSample:
    """Text tokens between media; about half of the text tokens are supervised."""
    generator = torch.Generator().manual_seed(seed)
    pieces = [torch.randint(1, 90, (text,), generator=generator)]
    keeps, patches = [], []
    for medium in media:
        frames, rows, columns = medium.grid
        keep = torch.rand(frames * (rows // medium.merge) * (columns // medium.merge), generator=generator)
        keep = keep >= medium.pruned
        keep[0] = True
        placeholder = IMAGE if medium.kind == "image" else VIDEO
        pieces += [torch.full((int(keep.sum()),), placeholder), torch.randint(1, 90, (text,), generator=generator)]
        keeps.append(keep)
        patches.append(torch.rand(frames * rows * columns, 588, generator=generator) * 2 - 1)
    tokens = torch.cat(pieces)
    chosen = (torch.rand(len(tokens), generator=generator) < 0.5) & (tokens < 90)
    return RandomSample(
        tokens=tokens,
        labels=torch.where(chosen, tokens, -100),
        patches=torch.cat(patches) if patches else torch.zeros(0, 588),
        media=tuple(media),
        keeps=tuple(keeps),
    )


def pack_samples(samples: Sequence[RandomSample]) -> PackedBatch:
    """The samples end to end."""
    media = [medium for sample in samples for medium in sample.media]
    keeps = [keep for sample in samples for keep in sample.keeps]
    return PackedBatch.of(
        tokens=torch.cat([sample.tokens for sample in samples]),
        labels=torch.cat([sample.labels for sample in samples]),
        sequence_lengths=[len(sample.tokens) for sample in samples],
        patches=torch.cat([sample.patches for sample in samples]),
        grids=torch.tensor([medium.grid for medium in media], dtype=torch.int64).view(-1, 3),
        merges=torch.tensor([medium.merge for medium in media], dtype=torch.int64),
        keep=torch.cat(keeps) if keeps else torch.zeros(0, dtype=torch.bool),
    )


def port_inputs(sample: RandomSample) -> dict[str, Tensor]:
    """The sample as keyword arguments of the port."""
    inputs = {"input_ids": sample.tokens[None], "attention_mask": torch.ones(1, len(sample.tokens), dtype=torch.int64)}
    patches = sample.patches.split([torch.Size(medium.grid).numel() for medium in sample.media])
    names = {"image": ("pixel_values", "image"), "video": ("pixel_values_videos", "video")}
    for kind, (pixels, prefix) in names.items():
        chosen = [index for index, medium in enumerate(sample.media) if medium.kind == kind]
        if chosen:
            inputs[pixels] = torch.cat([patches[index] for index in chosen])
            inputs[f"{prefix}_grid_thw"] = torch.tensor([sample.media[index].grid for index in chosen])
            inputs[f"{prefix}_merge_sizes"] = torch.tensor([sample.media[index].merge for index in chosen])
    if "pixel_values_videos" in inputs:
        kinds = zip(sample.keeps, sample.media, strict=True)
        inputs["video_compression_mask"] = torch.cat([keep for keep, medium in kinds if medium.kind == "video"])
    return inputs
