"""Weights: from published checkpoints to this model and back.

Models are built without memory (meta device), checked name by name and shape by shape against the checkpoint, and only
then filled, one tensor at a time.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.checkpoint_files import CheckpointFiles, WeightsError, find_directory, write_json, write_shards
from model.config import ModelConfig
from model.config_files import join_configs
from model.layouts import Renamed, rename_language, rename_model, rename_vision
from model.videollama3 import VideoLLaMA3, initialise

if TYPE_CHECKING:
    from model.processor import Processor

_LOG = logging.getLogger(__name__)
_HEAD = "lm_head.weight"
_EMBEDDING = "model.language_model.embed_tokens.weight"
_MAX_LISTED = 40
Wanted = dict[str, tuple[int, ...]]  # port name -> shape


def load_pretrained(
    path: str | Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> VideoLLaMA3:
    """Load a VideoLLaMA3 from a directory or hub id, in the port's, the original hub's or the training layout.

    `dtype` None keeps the stored types. Raises WeightsError, which lists every missing, unexpected or misshapen key.
    """
    directory = find_directory(path)
    config = ModelConfig.from_pretrained(directory)
    model = _empty(config)
    with CheckpointFiles(directory) as files:
        renamed = rename_model(files)
        if config.tied:
            renamed = _without_head(renamed, files)
        state = _read(files, renamed, _shapes(model), dtype=dtype, device=device)
    model.load_state_dict(state, assign=True)
    return model.eval()


def load_parts(
    *,
    language: str | Path,
    vision: str | Path,
    image_token_id: int = 151655,
    video_token_id: int = 151656,
    dtype: torch.dtype | None = torch.float32,
    device: torch.device | str = "cpu",
) -> VideoLLaMA3:
    """Join a plain Qwen2.5 and a SigLIP, SigLIP-NaViT or VideoLLaMA3 vision encoder by a fresh projector.

    Stage 1 starts from it. The position table and pooling head of SigLIP are dropped with a notice in the log. The
    projector is random by torch's generator; `dtype` None leaves it in fp32.
    """
    language_path, vision_path = find_directory(language), find_directory(vision)
    config = join_configs(language_path, vision_path, image_token_id=image_token_id, video_token_id=video_token_id)
    model = _empty(config)
    wanted = _shapes(model)
    encoder = {name: shape for name, shape in wanted.items() if name.startswith("model.vision_model.")}
    decoder = {name: shape for name, shape in wanted.items() if name.startswith(("model.language_model.", "lm_head."))}
    with CheckpointFiles(language_path) as files:
        renamed = rename_language(files)
        if config.tied:
            renamed = _without_head(renamed, files)
        state = _read(files, renamed, decoder, dtype=dtype, device=device)
    with CheckpointFiles(vision_path) as files:
        renamed = rename_vision(files)
        state |= _read(files, renamed, encoder, dtype=dtype, device=device)
        if renamed.dropped:
            reasons = "; ".join(sorted(set(renamed.dropped.values())))
            _LOG.warning("%s: left out %d tensors (%s)", vision_path, len(renamed.dropped), reasons)
    model.projector.to_empty(device="cpu")
    initialise(model.projector)
    model.projector.to(device=device, dtype=dtype)
    model.load_state_dict(state, assign=True, strict=False)
    return model


def save_pretrained(
    model: VideoLLaMA3,
    path: str | Path,
    processor: Processor | None = None,
    *,
    state: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = 5_000_000_000,
) -> None:
    """Write a directory that transformers' VideoLlama3ForConditionalGeneration loads, and `load_pretrained` too.

    `state` stands in for the model's own state dict where that is spread over ranks; `dtype` None keeps types. With a
    processor, its settings and tokenizer files are written beside the weights.
    """
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    tensors = dict(state if state is not None else model.state_dict())
    _compare("the state to save", {name: tuple(tensor.shape) for name, tensor in tensors.items()}, _shapes(model))
    if dtype is not None:
        tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    write_shards(directory, tensors, max_shard_bytes=max_shard_bytes)
    config = model.config
    stored = str(tensors[_EMBEDDING].dtype).removeprefix("torch.")
    write_json(directory / "config.json", config.to_port(dtype=stored))
    generation = {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": list(config.stop_token_ids),
        "pad_token_id": config.pad_token_id,
        "do_sample": False,
    }
    stated = {name: value for name, value in generation.items() if value not in (None, [])}
    write_json(directory / "generation_config.json", stated)
    if processor is not None:
        processor.save_pretrained(directory)


def _empty(config: ModelConfig) -> VideoLLaMA3:
    with torch.device("meta"):
        return VideoLLaMA3(config)


def _shapes(model: VideoLLaMA3) -> Wanted:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _without_head(renamed: Renamed, files: CheckpointFiles) -> Renamed:
    """A tied model has no head of its own; a stored copy of the embedding is left out, another head is an error."""
    homes = {port: name for name, port in renamed.names.items()}
    if _HEAD not in homes:
        return renamed
    if _EMBEDDING in homes and not torch.equal(files.read(homes[_HEAD]), files.read(homes[_EMBEDDING])):
        raise WeightsError(
            f"{files.directory}: config.json ties the head to the embedding, but {homes[_HEAD]} differs from "
            f"{homes[_EMBEDDING]}. Set tie_word_embeddings to false, or remove the head"
        )
    names = {name: port for name, port in renamed.names.items() if port != _HEAD}
    return replace(renamed, names=names, dropped=renamed.dropped | {homes[_HEAD]: "copy of the tied embedding"})


def _read(
    files: CheckpointFiles, renamed: Renamed, wanted: Wanted, *, dtype: torch.dtype | None, device: torch.device | str
) -> dict[str, Tensor]:
    """Tensors by port name, after the names and shapes were found right."""
    counts = Counter(renamed.names.values())
    if twice := sorted(name for name, port in renamed.names.items() if counts[port] > 1):
        raise WeightsError(f"{files.directory}: mixes layouts; the same parameter is named by {_listing(twice)}")
    _compare(str(files.directory), {port: files.shape(name) for name, port in renamed.names.items()}, wanted)
    state = {}
    for name, port in renamed.names.items():
        tensor = files.read(name)
        if not tensor.is_floating_point():
            raise WeightsError(f"{files.directory}: {name} is {tensor.dtype}; wanted floats. Use unquantised weights")
        state[port] = tensor.to(device=device, dtype=dtype or tensor.dtype)
    return state


def _compare(where: str, found: Wanted, wanted: Wanted) -> None:
    """One error that lists all that is wrong."""
    faults = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unexpected": sorted(found.keys() - wanted.keys()),
        "of another shape": [
            f"{name} (found {list(found[name])}, wanted {list(wanted[name])})"
            for name in sorted(wanted.keys() & found.keys())
            if found[name] != wanted[name]
        ],
    }
    if any(faults.values()):
        lists = "; ".join(f"{len(names)} {fault}: {_listing(names)}" for fault, names in faults.items() if names)
        raise WeightsError(f"{where}: not the weights of this config: {lists}. Check config.json and the layout")


def _listing(names: list[str]) -> str:
    rest = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")
