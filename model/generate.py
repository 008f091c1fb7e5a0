"""Generate: continue conversations token by token, several at a time.

Shapes: B conversations, D language width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.batch import Encoded, PackedBatch, pack
from model.cache import KeyValueCache

if TYPE_CHECKING:
    from model.processor import Processor
    from model.tokenizer import Tokenizer
    from model.videollama3 import VideoLLaMA3

_UNFINISHED = "\ufffd"  # what a byte-level tokenizer shows for the first bytes of a character


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How to choose tokens and when to stop.

    `temperature` 0 takes the likeliest token; above, tokens are drawn from the smallest set whose probability reaches
    `top_p`. `stop_token_ids` None stands for the model's own. `seed` None draws from torch's generator.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    stop_token_ids: tuple[int, ...] | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"{self}: wanted max_new_tokens >= 1, temperature >= 0 and top_p in (0, 1]. Change them")


def generate(
    model: VideoLLaMA3,
    processor: Processor,
    conversation: Any,
    *,
    images: Sequence[Any] = (),
    videos: Sequence[Any] = (),
    **options: Any,
) -> str:
    """The answer to one conversation. `options` are the fields of GenerationConfig."""
    return "".join(stream_text(model, processor, conversation, images=images, videos=videos, **options))


def stream_text(
    model: VideoLLaMA3,
    processor: Processor,
    conversation: Any,
    *,
    images: Sequence[Any] = (),
    videos: Sequence[Any] = (),
    **options: Any,
) -> Iterator[str]:
    """The answer to one conversation in pieces, as they are made; a piece never ends inside a character."""
    encoded = processor(conversation, images=images, videos=videos, generation=True)
    steps = stream_tokens(model, [encoded], GenerationConfig(**options))
    yield from text_pieces((token for (token,) in steps if token is not None), processor.tokenizer)


def text_pieces(tokens: Iterable[int], tokenizer: Tokenizer) -> Iterator[str]:
    """Text of tokens as they come, special ones left out; a character spread over tokens waits for its last one."""
    held: list[int] = []
    shown = text = ""
    for token in tokens:
        held.append(token)
        text = tokenizer.decode(held, skip_special_tokens=True)
        if len(text) > len(shown) and not text.endswith(_UNFINISHED):
            yield text[len(shown) :]
            shown = text
    if len(text) > len(shown):
        yield text[len(shown) :]


def generate_tokens(
    model: VideoLLaMA3, prompts: PackedBatch | Sequence[Encoded], config: GenerationConfig | None = None
) -> list[list[int]]:
    """New tokens of each prompt, stop tokens left out."""
    answers: list[list[int]] | None = None
    for tokens in stream_tokens(model, prompts, config):
        answers = answers or [[] for _ in tokens]
        for answer, token in zip(answers, tokens, strict=True):
            if token is not None:
                answer.append(token)
    assert answers is not None
    return answers


def stream_tokens(
    model: VideoLLaMA3, prompts: PackedBatch | Sequence[Encoded], config: GenerationConfig | None = None
) -> Iterator[tuple[int | None, ...]]:
    """The next token of every prompt, step by step; None for those that have stopped. At least one step.

    Prompts are read in one packed pass, with their images and (pruned) videos; then all of them decode together, and
    those that have stopped leave. Raises ValueError on an empty prompt.
    """
    config = config or GenerationConfig()
    batch = (prompts if isinstance(prompts, PackedBatch) else pack(prompts)).to(model.head.device)
    if not all(batch.sequence_lengths):
        raise ValueError("generate: found a prompt without tokens. Give every conversation at least one turn")
    stops = set(model.config.stop_token_ids if config.stop_token_ids is None else config.stop_token_ids)
    generator = None
    if config.seed is not None:
        generator = torch.Generator(batch.tokens.device).manual_seed(config.seed)
    cache = KeyValueCache(batch, layers=model.config.language.layers, max_new_tokens=config.max_new_tokens)
    alive = list(range(len(batch.sequence_lengths)))
    logits = _read_prompts(model, batch, cache)
    for step in range(config.max_new_tokens):
        chosen = _choose(logits, config, generator)
        going = [row for row, token in enumerate(chosen.tolist()) if token not in stops]
        tokens: list[int | None] = [None] * len(batch.sequence_lengths)
        for row in going:
            tokens[alive[row]] = int(chosen[row])
        yield tuple(tokens)
        if not going or step + 1 == config.max_new_tokens:
            return
        if len(going) < len(alive):
            rows = torch.tensor(going, device=chosen.device)
            cache.select(rows)
            chosen, alive = chosen[rows], [alive[row] for row in going]
        logits = _decode(model, chosen, cache)


@torch.inference_mode()
def _read_prompts(model: VideoLLaMA3, batch: PackedBatch, cache: KeyValueCache) -> Tensor:  # B V
    hidden = model(batch, want="hidden", cache=cache)
    return F.linear(hidden.index_select(0, batch.cu_seqlens[1:] - 1), model.head)


@torch.inference_mode()
def _decode(model: VideoLLaMA3, tokens: Tensor, cache: KeyValueCache) -> Tensor:  # B -> B V
    x = model.language.embed_tokens(tokens)
    hidden = model.language(x, cache.lengths, None, cache)
    cache.advance()
    return F.linear(hidden, model.head)


@torch.inference_mode()
def _choose(logits: Tensor, config: GenerationConfig, generator: torch.Generator | None) -> Tensor:  # B V -> B
    if config.temperature == 0:
        return logits.argmax(dim=-1)
    probabilities, order = (logits.float() / config.temperature).softmax(dim=-1).sort(dim=-1, descending=True)
    before = probabilities.cumsum(dim=-1) - probabilities
    probabilities = probabilities.masked_fill(before >= config.top_p, 0.0)  # the likeliest always stays
    drawn = torch.multinomial(probabilities, 1, generator=generator)
    return order.gather(1, drawn)[:, 0]
