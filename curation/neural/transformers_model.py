"""Transformers model: published image-text-to-text models as captioners, in this process. Needs torch and transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image

from curation.media.decode import decode_image
from curation.neural.captioner import Caption, Request
from curation.neural.embedding import clip_frames
from curation.neural.towers import device
from model.torchvision_repair import repair_torchvision


def transformers_answers(path: str, precision: str, frames: int) -> Callable[[Sequence[Request]], list[Caption]]:
    """A function that answers a group of requests with the model at `path`. Remote code is never run."""
    repair_torchvision()
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(path, trust_remote_code=False)
    model: Any = AutoModelForImageTextToText.from_pretrained(
        path, dtype=getattr(torch, precision), trust_remote_code=False
    )
    model = model.eval().to(device())
    processor.tokenizer.padding_side = "left"  # what is generated follows the last token of the question

    @torch.inference_mode()
    def answer(requests: Sequence[Request]) -> list[Caption]:
        pictures = [_pictures(request, frames) for request in requests]
        questions = [
            _question(processor, request, len(shown)) for request, shown in zip(requests, pictures, strict=True)
        ]
        inputs = processor(images=pictures, text=questions, padding=True, return_tensors="pt").to(device())
        inputs = {name: v.to(model.dtype) if v.is_floating_point() else v for name, v in inputs.items()}
        limit = max(request.max_tokens for request in requests)
        made = model.generate(**inputs, max_new_tokens=limit, do_sample=False)
        return [
            _caption(processor, tokens, mask, request)
            for tokens, mask, request in zip(
                made[:, inputs["input_ids"].shape[1] :], inputs["attention_mask"], requests, strict=True
            )
        ]

    return answer


def _pictures(request: Request, frames: int) -> list[Image.Image]:
    shown: list[Image.Image] = []
    for kind, _, data in request.media:
        arrays = list(clip_frames(data, frames)) if kind == "video" else [decode_image(data)]
        shown += [Image.fromarray(pixels) for pixels in arrays]
    return shown


def _question(processor: Any, request: Request, pictures: int) -> str:
    """The question in the model's own chat form; models without one (BLIP-2) take the bare words."""
    if getattr(processor, "chat_template", None) is None:
        return request.text
    content: list[dict[str, str]] = [{"type": "image"} for _ in range(pictures)]
    content.append({"type": "text", "text": request.text})
    return processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )


def _caption(processor: Any, tokens: torch.Tensor, mask: torch.Tensor, request: Request) -> Caption:
    ends = {processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id}
    ids = tokens.tolist()
    length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    ids = ids[: min(length, request.max_tokens)]
    text = processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
    cut = length >= request.max_tokens
    return Caption(text=text, finish="length" if cut else "stop", input_tokens=int(mask.sum()), output_tokens=len(ids))
