"""Own model: a VideoLLaMA3 checkpoint as captioner. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from curation.neural.captioner import Caption, Request
from model.generate import GenerationConfig, generate_tokens
from model.processor import Processor
from model.videollama3 import VideoLLaMA3


def own_answers(path: str | Path, max_visual_tokens: int | None) -> Callable[[Sequence[Request]], list[Caption]]:
    """A function that answers a group of requests with the checkpoint at `path`."""
    model = VideoLLaMA3.from_pretrained(path).eval()
    model = model.to("cuda", torch.bfloat16) if torch.cuda.is_available() else model.float()
    processor = Processor.from_pretrained(path)

    def answer(requests: Sequence[Request]) -> list[Caption]:
        encoded = [_encoded(processor, request, max_visual_tokens) for request in requests]
        limit = max(request.max_tokens for request in requests)
        found = generate_tokens(model, encoded, GenerationConfig(max_new_tokens=limit))
        return [
            _caption(processor, tokens, request, len(prompt.tokens))
            for tokens, request, prompt in zip(found, requests, encoded, strict=True)
        ]

    return answer


def _encoded(processor: Processor, request: Request, max_visual_tokens: int | None) -> Any:
    content: list[dict[str, str]] = [{"type": kind} for kind, _, _ in request.media]
    content.append({"type": "text", "text": request.text})
    pictures = [data for kind, _, data in request.media if kind == "image"]
    clips = [data for kind, _, data in request.media if kind == "video"]
    conversation = [{"role": "user", "content": content}]
    return processor(conversation, images=pictures, videos=clips, max_tokens=max_visual_tokens, generation=True)


def _caption(processor: Processor, tokens: list[int], request: Request, prompt: int) -> Caption:
    cut = len(tokens) >= request.max_tokens
    tokens = tokens[: request.max_tokens]
    text = processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
    return Caption(text=text, finish="length" if cut else "stop", input_tokens=prompt, output_tokens=len(tokens))
