"""Clip: a small open_clip model trained contrastively on synthetic scenes and clips, written in open_clip's own format.

Shapes: B pairs of a step.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from curation.sources.synthetic import clips, scenes
from curation.sources.synthetic.looks import LOOKS, spoil
from model.torchvision_repair import repair_torchvision

CONTEXT, SIDE = 64, 128
PREPROCESS = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "interpolation": "bilinear", "resize_mode": "squash"}


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long and how fast. Steps of `batch` fresh pairs, so that nothing is ever seen twice; seeds below 2^31 are for training."""

    steps: int = 700
    batch: int = 128
    rate: float = 2e-3
    seed: int = 0
    minutes: float = 600.0


def pair(rng: random.Random) -> tuple[Image.Image, str]:
    """A picture and its caption: scenes, some of them ugly and said to be, and frames of clips."""
    if rng.random() < 0.12:
        clip = clips.make_clip(rng)
        return Image.fromarray(rng.choice(clips.draw_frames(clip)[::3])), clip.caption
    scene = scenes.make_scene(rng)
    image, caption = scenes.draw_scene(scene), scenes.captions(scene)[0]
    if rng.random() < 0.25:
        look = rng.choice(LOOKS)
        image = spoil(image, look, rng)
        caption = f"A {look} picture." if look == "blank" else f"A {look} picture: {caption}"
    return image, caption


def make_tokenizer(directory: Path, *, captions: int = 4000) -> int:
    """Byte-level BPE of some hundred tokens, written as a tokenizer directory; returns its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        special_tokens=["<pad>", "<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = random.Random("tokenizer")
    tokenizer.train_from_iterator((pair(rng)[1] for _ in range(captions)), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 1)])  # pyright: ignore[reportAttributeAccessIssue]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")
    fast.save_pretrained(directory)
    return tokenizer.get_vocab_size()


def model_config(vocab: int) -> dict[str, Any]:
    """open_clip's configuration: a ResNet of four blocks down to 4 x 4 cells, and a text transformer of two layers."""
    text = {
        "context_length": CONTEXT, "vocab_size": vocab, "width": 96, "heads": 3, "layers": 2, "pool_type": "eos", "eos_id": 1,
        "pad_id": 0, "hf_tokenizer_name": "vl3-tiny-clip",
    }  # fmt: skip
    return {
        "embed_dim": 128,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": SIDE, "head_width": 32},
        "text_cfg": text,
    }


def build(directory: Path, *, captions: int = 4000) -> tuple[Any, Any]:
    """A fresh open_clip model and its tokenizer (of so many captions), whose files are written into the directory."""
    repair_torchvision()
    from open_clip.model import CLIP, set_model_preprocess_cfg
    from open_clip.tokenizer import HFTokenizer

    config = model_config(make_tokenizer(directory, captions=captions))
    shapes = {
        "vision_cfg": config["vision_cfg"],
        "text_cfg": {k: v for k, v in config["text_cfg"].items() if k != "hf_tokenizer_name"},
    }
    model = CLIP(embed_dim=config["embed_dim"], **shapes)
    set_model_preprocess_cfg(model, {"size": (SIDE, SIDE), "mode": "RGB", "fill_color": 0, **PREPROCESS})
    return model, HFTokenizer(str(directory), context_length=CONTEXT)


def tensor_of(images: list[Image.Image]) -> torch.Tensor:
    """Pictures as the model takes them: B 3 side side."""
    pixels = [np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for image in images]
    normal = (torch.from_numpy(np.stack(pixels)).float() / 255 - 0.5) / 0.25
    return normal.permute(0, 3, 1, 2).contiguous()


def train(directory: Path, settings: Training) -> None:
    """Train from nothing and write the directory that `open_clip.create_model("local-dir:...")` loads."""
    torch.manual_seed(settings.seed)
    directory.mkdir(parents=True, exist_ok=True)
    model, tokenizer = build(directory)
    from open_clip.loss import ClipLoss

    loss_of, rng = ClipLoss(), random.Random(f"clip {settings.seed}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total_steps=settings.steps, pct_start=0.08)
    start = time.monotonic()
    for step in range(1, settings.steps + 1):
        pairs = [pair(rng) for _ in range(settings.batch)]
        images, texts, scale = model(
            tensor_of([image for image, _ in pairs]), tokenizer([caption for _, caption in pairs])
        )
        loss = loss_of(images, texts, scale)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6052)
        if step % 25 == 0 or step == settings.steps:
            hits = (images @ texts.T).argmax(dim=1).eq(torch.arange(len(images))).float().mean()
            print(f"step {step}/{settings.steps}  loss {loss:.4f}  right of {settings.batch}: {hits:.1%}  "
                  f"{time.monotonic() - start:.0f} s", flush=True)  # fmt: skip
            write(model, tokenizer, directory)


def write(model: Any, tokenizer: Any, directory: Path) -> None:
    """The model in the hub's format, in half precision."""
    from open_clip.push_to_hf_hub import save_for_hf

    half = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    config = model_config(tokenizer.tokenizer.vocab_size)
    save_for_hf(_Weights(half, model.visual), tokenizer, config, str(directory), safe_serialization=True)


class _Weights:
    """What `save_for_hf` looks at: tensors, and the preprocessing of the vision tower."""

    def __init__(self, tensors: dict[str, torch.Tensor], visual: Any) -> None:
        self.tensors, self.visual = tensors, visual

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The tensors as they are written."""
        return self.tensors
