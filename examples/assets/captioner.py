"""Captioner: a tiny VideoLLaMA3 that describes small scenes, through its four stages by our own trainer on shards of our own pipeline.

    vision        the encoder, contrastively (`examples.assets.vision`)
    words         the language model, on captions as text
    stage1 ... 4  everything, on captions, questions and clips

Below WORK lie corpora, shards and runs; what is there is not made again, so that an interrupted training goes on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from curation.sources.synthetic import scenes, write_synthetic
from examples.assets import recipes, vision
from model import ModelConfig, Processor, VideoLLaMA3

SHARES = {"image_text": 0.5, "conversations": 0.4, "videos": 0.1}


@dataclass(frozen=True, kw_only=True)
class Training:
    """How much of everything. samples: of the corpora. steps: of each stage, one pack of 2,048 tokens each."""

    samples: int = 28_000
    captions: int = 4_000  # as text
    vision: vision.Training = field(default_factory=vision.Training)
    steps: Mapping[str, int] = field(
        default_factory=lambda: {"words": 150, "stage1": 300, "stage2": 800, "stage3": 4000, "stage4": 2400}
    )
    seed: int = 0


# Peak learning rates, of each component that trains. Unlike the published first stage ours trains the language model too: it
# has read captions, but nothing that it could have read them off.
RATES: Mapping[str, Mapping[str, float]] = {
    "words": {"language": 2e-3},
    "stage1": {"language": 2e-3, "projector": 2e-3, "vision": 2e-4},
    "stage2": {"language": 2e-3, "projector": 2e-3, "vision": 2e-4},
    "stage3": {"language": 1.5e-3, "projector": 1.5e-3, "vision": 2e-4},
    "stage4": {"language": 1.5e-3, "projector": 1.5e-3, "vision": 2e-4},
}


def config() -> ModelConfig:
    """Sizes of the model: the `tiny` preset's."""
    return ModelConfig.preset("tiny")


def train(directory: Path, work: Path, settings: Training) -> None:
    """Make everything and write the model directory."""
    write_corpora(work / "data", settings)
    before = begin(work / "begin", settings)
    for stage, steps in settings.steps.items():
        before = run_stage(stage, work, before, steps=steps, seed=settings.seed)
    model, processor = VideoLLaMA3.from_pretrained(before / "model"), Processor.from_pretrained(before / "model")
    model.save_pretrained(directory, processor, dtype=torch.float16)


def write_corpora(directory: Path, settings: Training) -> None:
    """The small world, and captions of it as text."""
    if (directory / "truth.jsonl").is_file():
        return
    write_synthetic(str(directory), samples=settings.samples, seed=settings.seed, small=True, shares=SHARES)
    rng = random.Random(f"captions {settings.seed}")
    drawn = (scenes.make_scene(rng, scenes.SMALL) for _ in range(settings.captions))
    lines = [json.dumps({"id": f"caption_{n}", "text": scenes.captions(scene)[0]}) for n, scene in enumerate(drawn)]
    (directory / "text.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def begin(directory: Path, settings: Training) -> Path:
    """A model directory whose vision encoder has seen scenes and whose language model is random."""
    if not (directory / "config.json").is_file():
        encoder = vision.train(config().vision, settings.vision)
        torch.manual_seed(settings.seed)
        model = VideoLLaMA3(config())
        vision.fan_in(model)
        model.vision.load_state_dict(encoder.state_dict())
        model.save_pretrained(directory, Processor.tiny())
    return directory


def run_stage(stage: str, work: Path, before: Path, *, steps: int, seed: int) -> Path:
    """Curate and train one stage; the directory of its run."""
    from pipelines.cli import main as curate
    from trainer.train import Settings
    from trainer.train import train as run

    shards, out = work / stage, work / "runs" / stage
    recipe = f"{Path(recipes.__file__)}:{stage}"
    command = ["run", recipe, "--data", str(work / "data"), "--out", str(shards), "--measures", str(work / "measures")]
    if not (shards / "manifest.json").is_file() and curate([*command, "--executor", "local", "--workers", "1"]):
        raise SystemExit(f"{shards}: not curated")
    if not (out / "model").is_dir():
        run(
            Settings(
                stage="stage2" if stage == "words" else stage,
                shards=(shards,),
                out=out,
                init=str(before),
                steps=steps,
                seed=seed,
                save_every=250,
                changes={"rates": RATES[stage]},
            )
        )
    return out
