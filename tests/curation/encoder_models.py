"""Tiny random models in the published formats, written by the libraries that define them."""

from pathlib import Path
from typing import Any

import numpy as np

from curation.sample import Media, Origin, Sample, caption_turns, document_turns, make_sample
from curation.sources.synthetic.scenes import encode_jpeg
from examples.assets import clip as asset


def open_clip_directory(folder: Path) -> Path:
    """A directory in the hub's format, by open_clip's own `save_for_hf`."""
    import torch

    torch.manual_seed(3)
    model, tokenizer = asset.build(folder, captions=200)
    asset.write(model, tokenizer, folder)
    return folder


def tokenizer_files(folder: Path) -> None:
    """A small tokenizer that transformers' AutoTokenizer loads."""
    asset.make_tokenizer(folder, captions=200)


def transformers_clip(folder: Path, kind: str) -> Path:
    """A random CLIP or SigLIP with its processor files."""
    import torch
    from transformers import (
        CLIPConfig,
        CLIPImageProcessorPil,
        CLIPModel,
        SiglipConfig,
        SiglipImageProcessorPil,
        SiglipModel,
    )

    torch.manual_seed(5)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    text = {**sizes, "vocab_size": 640, "max_position_embeddings": 24}
    vision = {**sizes, "image_size": 32, "patch_size": 8}
    if kind == "clip":
        text |= {"eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 0}
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    else:
        SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
        SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer_files(folder)
    return folder


def picture(seed: int, width: int = 60, height: int = 44) -> np.ndarray:
    """A random smooth picture."""
    from PIL import Image

    rough = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))


def jpeg(seed: int) -> bytes:
    """A random smooth JPEG."""
    from PIL import Image

    return encode_jpeg(Image.fromarray(picture(seed)))


def image_sample(number: int, caption: str = "a caption", *data: bytes) -> Sample:
    """A sample with one random picture, or with the given ones; without caption tags for none."""
    origin = Origin(source="test", locator=f"file#{number}", name=str(number))
    media = tuple(Media(kind="image", data=item) for item in (data or (jpeg(number),)))
    return make_sample(origin, caption_turns(caption, ["image"] * len(media)), media)


def text_sample(number: int, text: str = "only words") -> Sample:
    """A sample without media."""
    origin = Origin(source="test", locator=f"text#{number}", name=f"t{number}")
    return make_sample(origin, document_turns(text))
