"""Towers: the two libraries that published CLIP and SigLIP weights come in, behind one interface. Needs torch.

Shapes: B pictures or texts, L tokens, D width of the embedding.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from curation.neural.encoder import EncoderSpec
from curation.operator import OperatorError
from model.torchvision_repair import repair_torchvision

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def device() -> torch.device:
    """The GPU of this worker if it has one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class _Tower:
    """A model on a device: arrays in, arrays out, in the precision asked for."""

    def __init__(self, model: Any, precision: str) -> None:
        self.device, self.dtype = device(), _PRECISIONS[precision]
        self.model = model.eval().to(device=self.device, dtype=self.dtype).requires_grad_(False)

    def _images(self, prepared: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(prepared)
        tensor = tensor.pin_memory() if self.device.type == "cuda" else tensor
        return tensor.to(device=self.device, dtype=self.dtype, non_blocking=True)


class OpenClipTower(_Tower):
    """open_clip: its own model, preprocessing and tokenizer."""

    def __init__(self, model: Any, preprocess: Any, tokenizer: Any, precision: str) -> None:
        super().__init__(model, precision)
        self._preprocess, self._tokenizer = preprocess, tokenizer

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        """open_clip's evaluation transform: resize, crop, normalise."""
        return self._preprocess(Image.fromarray(pixels)).numpy()

    @torch.inference_mode()
    def encode_images(self, prepared: np.ndarray) -> np.ndarray:
        """float32 [B, 3, side, side] to [B, D]."""
        return self.model.encode_image(self._images(prepared)).float().cpu().numpy()

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, list[int]]:
        """Token ids, and how many tokens of each text were left out."""
        context = self._tokenizer.context_length
        return self._tokenizer(list(texts)), [max(0, self._length(text) - context) for text in texts]

    def _length(self, text: str) -> int:
        inner = getattr(self._tokenizer, "tokenizer", None)
        if inner is not None:  # a Hugging Face tokenizer; it counts its own end
            return len(inner(self._tokenizer.clean_fn(text)).input_ids)
        return len(self._tokenizer.encode(text)) + 2  # CLIP's own, with start and end

    @torch.inference_mode()
    def encode_texts(self, tokens: Tensor) -> np.ndarray:
        """Token ids [B, L] to [B, D]."""
        return self.model.encode_text(tokens.to(self.device)).float().cpu().numpy()


def open_clip_tower(spec: EncoderSpec) -> OpenClipTower:
    """Load what `spec` names; a missing checkpoint is an error, never random weights."""
    repair_torchvision()
    import open_clip

    directory = spec.directory
    name = spec.model if directory is None else f"local-dir:{directory}"
    if directory is not None and not _has_weights(directory):
        raise OperatorError(
            f"encoder {spec.model}: {directory} has no open_clip weights: run `make assets`, or fetch it"
        )
    if directory is None and not spec.pretrained and not spec.model.startswith("hf-hub:"):
        raise OperatorError(
            f"encoder {spec.model}: an architecture alone has random weights: name `pretrained`, a tag or a file"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of activations that other weights of the architecture use
        loaded: Any = open_clip.create_model_from_pretrained(
            name, pretrained=spec.pretrained or None, weights_only=True, return_transform=True
        )
        tokenizer = open_clip.get_tokenizer(name)
    model, preprocess = loaded
    return OpenClipTower(model, preprocess, tokenizer, spec.precision)


def _has_weights(directory: Path) -> bool:
    return any(next(directory.glob(pattern), None) for pattern in ("*.safetensors", "*.bin", "*.pt", "*.pth"))


class TransformersTower(_Tower):
    """transformers: CLIPModel or SiglipModel with their own processor files."""

    def __init__(self, model: Any, images: Any, tokenizer: Any, precision: str) -> None:
        super().__init__(model, precision)
        self._processor, self._tokenizer = images, tokenizer
        self._context = int(model.config.text_config.max_position_embeddings)
        self._siglip = "siglip" in str(model.config.model_type)

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        """The model's own image processor."""
        return np.asarray(
            self._processor(images=Image.fromarray(pixels), return_tensors="np")["pixel_values"][0], np.float32
        )

    @torch.inference_mode()
    def encode_images(self, prepared: np.ndarray) -> np.ndarray:
        """float32 [B, 3, side, side] to [B, D]."""
        return _vectors(self.model.get_image_features(pixel_values=self._images(prepared)))

    def tokenize(self, texts: Sequence[str]) -> tuple[dict[str, Tensor], list[int]]:
        """Token ids padded to the full length, as SigLIP was trained, and how many tokens of each text were left out."""
        tokens = self._tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self._context, return_tensors="pt"
        )
        lengths = [len(ids) for ids in self._tokenizer(list(texts)).input_ids]
        names = ("input_ids",) if self._siglip else ("input_ids", "attention_mask")
        return {name: tokens[name] for name in names}, [max(0, n - self._context) for n in lengths]

    @torch.inference_mode()
    def encode_texts(self, tokens: dict[str, Tensor]) -> np.ndarray:
        """Token ids [B, L] to [B, D]."""
        return _vectors(self.model.get_text_features(**{name: ids.to(self.device) for name, ids in tokens.items()}))


def _vectors(features: Any) -> np.ndarray:
    """transformers 5 answers with a record, 4 with the tensor itself."""
    tensor = features if isinstance(features, Tensor) else features.pooler_output
    return tensor.float().cpu().numpy()


def transformers_tower(spec: EncoderSpec) -> TransformersTower:
    """Load a CLIP or SigLIP directory or hub id. Remote code is never run."""
    repair_torchvision()
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    place = str(spec.directory or spec.model)
    model = AutoModel.from_pretrained(place, trust_remote_code=False)
    if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
        raise OperatorError(f"encoder {spec.model}: is a {type(model).__name__}, wanted a CLIP or SigLIP model")
    processor = AutoImageProcessor.from_pretrained(place, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    return TransformersTower(model, processor, tokenizer, spec.precision)
