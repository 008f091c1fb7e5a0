"""Start: the model and the processor that a run begins with, and any saved form of them for whoever comes after.

A checkpoint may be given as a run directory (its newest step), as one of its step directories, or as a model
directory in any layout that `VideoLLaMA3.from_pretrained` reads. OUT/processor holds what a step directory lacks:
config.json, tokenizer and pixel rules.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from model import ModelConfig, Processor, VideoLLaMA3
from model.checkpoint_files import find_directory
from model.config_files import join_configs
from trainer.checkpoint import State, latest, load, load_average, read_progress, write_atomically
from trainer.errors import UsageError
from trainer.lora import add_lora, merge_lora
from trainer.stages import PRESETS


def find_step(path: Path) -> Path | None:
    """The step directory that a run or step directory stands for; None for a model directory.

    Raises:
        UsageError: it is none of them.
    """
    if (path / "trainer.json").is_file():
        return path
    if step := latest(path):
        return step
    if (path / "config.json").is_file():
        return None
    raise UsageError(
        f"{path}: no run, no checkpoint and no model directory. Give one that holds checkpoints/LATEST, trainer.json "
        "or config.json"
    )


def read_model(path: Path) -> tuple[VideoLLaMA3, Processor]:
    """Model (fp32, on the CPU) and processor of a checkpoint in any form: averaged where the run kept an average, with
    low-rank additions merged.
    """
    step = find_step(path)
    if step is None:
        return VideoLLaMA3.from_pretrained(path, dtype=torch.float32), Processor.from_pretrained(path)
    described = step.parent.parent / "processor"
    if not described.is_dir():
        raise UsageError(
            f"{described}: not there, so {step} has no config and tokenizer. Keep a step inside its run, or export "
            "it first"
        )
    model, progress = VideoLLaMA3(ModelConfig.from_pretrained(described)), read_progress(step)
    if progress.lora:
        add_lora(model, progress.lora)
    load(step, State(model=model))
    if progress.averaged:
        load_average(step, model)
    if progress.lora:
        merge_lora(model)
    return model, Processor.from_pretrained(described)


def read_config(path: Path) -> ModelConfig:
    """Sizes of a checkpoint in any form, without its weights."""
    step = find_step(path)
    return ModelConfig.from_pretrained(path if step is None else step.parent.parent / "processor")


def config_of(source: str, *, vision: str | None = None) -> ModelConfig:
    """Sizes of a preset or a checkpoint, or of a language model joined with the encoder of `vision`, without weights."""
    if vision:
        image, video = Processor.from_pretrained(source).placeholder_ids
        return join_configs(find_directory(source), find_directory(vision), image_token_id=image, video_token_id=video)
    return ModelConfig.preset(source) if source in PRESETS else read_config(Path(source))  # pyright: ignore[reportArgumentType]


def processor_of(source: str, *, joined: bool = False) -> Processor:
    """The processor that a run from `source` would begin with."""
    if source in PRESETS:
        return Processor.tiny()
    if joined:
        return Processor.from_pretrained(source)
    step = find_step(Path(source))
    return Processor.from_pretrained(Path(source) if step is None else step.parent.parent / "processor")


def fresh_model(preset: str, *, seed: int) -> tuple[VideoLLaMA3, Processor]:
    """Random weights of published sizes, with the tokenizer that comes with the project."""
    torch.manual_seed(seed)
    processor = Processor.tiny()
    config = ModelConfig.preset(preset)  # pyright: ignore[reportArgumentType]  # checked by the command line
    tiny = ModelConfig.preset("tiny")
    special = {
        name: getattr(tiny, name)
        for name in ("image_token_id", "video_token_id", "bos_token_id", "pad_token_id", "stop_token_ids")
    }
    return VideoLLaMA3(replace(config, **special)), processor


def source_of(*, init: str | None, model: str | None, language: str | None, vision: str | None) -> str:
    """What a run begins with: a checkpoint, a preset (tiny if nothing is given), or a language model to be joined with a vision encoder.

    Raises:
        UsageError: more than one of them, or a language model without an encoder.
    """
    if language and (init or model):
        raise UsageError(f"--language {language}: --init and --model say what to start from as well: give one of them")
    if language and not vision:
        raise UsageError(f"--language {language}: give the encoder to join it with too, as --vision CKPT")
    return language or init or model or "tiny"


def start(source: str, *, vision: str | None, joined: bool, seed: int) -> tuple[VideoLLaMA3, Processor]:
    """Model and processor of a preset or checkpoint, with the vision encoder of `vision` if that is given; `joined`: of a plain
    language model and that encoder, with a fresh projector between them.

    Source: VideoLLaMA3, arXiv:2501.13106, section 3.3 (stage 1 starts from Qwen2.5 and SigLIP).
    """
    if joined and vision:
        torch.manual_seed(seed)
        processor = Processor.from_pretrained(source)
        image, video = processor.placeholder_ids
        model = VideoLLaMA3.from_parts(language=source, vision=vision, image_token_id=image, video_token_id=video)
        return model, processor
    built, processor = fresh_model(source, seed=seed) if source in PRESETS else read_model(Path(source))
    if vision is not None:
        adopt_vision(built, Path(vision))
    return built, processor


def adopt_vision(model: VideoLLaMA3, path: Path) -> None:
    """Take over the vision encoder of another checkpoint.

    Source: VideoLLaMA3, arXiv:2501.13106, section 3.3 (the 7B starts from the encoder that the 2B's training adapted).

    Raises:
        UsageError: it is of another size.
    """
    other, _ = read_model(path)
    if other.config.vision != model.config.vision:
        raise UsageError(
            f"--vision {path}: its encoder is {other.config.vision}, this model's is {model.config.vision}. "
            "Give a checkpoint with an encoder of this size"
        )
    model.vision.load_state_dict(other.vision.state_dict())


def describe(out: Path, model: VideoLLaMA3, processor: Processor) -> None:
    """Write OUT/processor, so that the steps of the run can be read by themselves."""
    directory = out / "processor"
    directory.mkdir(parents=True, exist_ok=True)
    processor.save_pretrained(directory)
    write_atomically(directory / "config.json", json.dumps(model.config.to_port(dtype="float32"), indent=1) + "\n")


def export(path: Path, directory: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a checkpoint as a model directory that transformers loads."""
    model, processor = read_model(path)
    model.save_pretrained(directory, processor, dtype=dtype)
