"""Processor: a conversation with its media to tokens, labels and patches.

`model.visuals` makes the patches, `model.chat` the tokens. Directories are those that transformers' processor of the
model reads and writes, the original release's, or ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from model.batch import PATCH_VALUES, Encoded
from model.chat import encode_chat, placeholder_ids, split_turns
from model.geometry import Kind, Medium, VisualRules, count_visual_tokens
from model.processor_files import read_placeholder_ids, read_rules, write_chat_template, write_rules
from model.tokenizer import IMAGE_TOKEN, STREAM_END, STREAM_START, Tokenizer
from model.visuals import ImageInput, VideoInput, encode_media, open_media


@dataclass(frozen=True, kw_only=True)
class Processor:
    """Tokenizer and visual rules of one model.

    `placeholder_ids` are those of an image and of a video: two in the port's convention, one in the original's.
    """

    tokenizer: Tokenizer
    rules: VisualRules
    placeholder_ids: tuple[int, int]

    @classmethod
    def tiny(cls, **rules: Any) -> Processor:
        """The shipped tokenizer and a small budget, for tests, the demo and the tiny model."""
        tokenizer = Tokenizer.shipped()
        settings = VisualRules(**{"max_tokens": 256, "min_tokens": 4, "max_frames": 16, **rules})
        return cls(tokenizer=tokenizer, rules=settings, placeholder_ids=placeholder_ids(tokenizer))

    @classmethod
    def from_pretrained(cls, path: str | Path, **rules: Any) -> Processor:
        """Read a directory, or a hub id: ours, transformers', or the original release's. `rules` replace what it says.

        Raises ValueError if there is no tokenizer, or no token for the media.
        """
        from model.checkpoint_files import find_directory  # only reading a checkpoint needs it

        path = find_directory(path)
        tokenizer = Tokenizer.load(path)
        tokenizer.add_special_tokens([IMAGE_TOKEN, STREAM_START, STREAM_END])  # plain Qwen2.5 lacks them
        return cls(
            tokenizer=tokenizer,
            rules=replace(read_rules(path), **rules),
            placeholder_ids=read_placeholder_ids(path) or placeholder_ids(tokenizer),
        )

    def save_pretrained(self, path: str | Path) -> None:
        """Write the tokenizer, the rules, and the files that transformers' VideoLlama3Processor reads."""
        image, video = (self.tokenizer.id_to_token(one) for one in self.placeholder_ids)
        self.tokenizer.save(path, image_token=image, video_token=video)
        write_rules(path, self.rules)
        write_chat_template(path, image_token=image, video_token=video)

    def __call__(
        self,
        conversation: Sequence[Any],
        images: Sequence[ImageInput] | None = None,
        videos: Sequence[VideoInput] | None = None,
        *,
        kinds: Sequence[Kind] | None = None,
        max_tokens: int | None = None,
        seed: int | str = 0,
        generation: bool = False,
    ) -> Encoded:
        """Encode one sample.

        `conversation` are turns as `model.chat.split_turns` reads them; their tags take images and videos in order.
        `kinds`, if given, are what the tags must be, one by one.
        `max_tokens` replaces the visual budget. `seed` is that of `encode_chat`. `generation` opens an assistant turn.
        Raises ValueError (MediaError for a picture or clip), naming the medium.
        """
        rules = self.rules if max_tokens is None else replace(self.rules, max_tokens=max_tokens)
        turns = split_turns(conversation, kinds)
        media = encode_media(open_media(turns, images or (), videos or (), rules), rules)
        tokens, labels = encode_chat(
            turns,
            [medium.visual for medium in media],
            self.tokenizer,
            placeholder_ids=self.placeholder_ids,
            seed=seed,
            generation=generation,
        )
        return Encoded(
            tokens=tokens,
            labels=labels,
            patches=np.concatenate([np.zeros((0, PATCH_VALUES), np.uint8), *(medium.patches for medium in media)]),
            grids=np.array([medium.grid for medium in media], np.int64).reshape(-1, 3),
            merges=np.array([medium.merge for medium in media], np.int64),
            keep=np.concatenate([np.zeros(0, bool), *(medium.keep.ravel() for medium in media)]),
            kinds=tuple(medium.geometry.kind for medium in media),
            sizes=tuple((medium.geometry.height, medium.geometry.width) for medium in media),
        )

    def visual_tokens(self, media: Sequence[Medium]) -> list[int]:
        """Visual tokens of each medium of a sample before pruning, from sizes alone."""
        return count_visual_tokens(media, self.rules)
