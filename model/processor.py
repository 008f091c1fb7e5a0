"""Processor: a conversation with its media to tokens, labels and patches.

The rules of `model.geometry` decide sizes, `model.frames` gives pixels, `model.prune` what a video keeps, `model.chat` the
tokens. Directories are those that transformers' VideoLlama3Processor reads and writes, the original release's, or ours.

Shapes: F frames, H height, W width, P patches, K values per patch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from model.batch import PATCH_VALUES, Encoded
from model.chat import Place, Turn, Visual, encode_chat, last_time, placeholder_ids, split_turns
from model.frames import FramePlan, Frames, decode_frames, decode_image, plan_frames, resize_frame
from model.geometry import Grid, Medium, VisualRules, count_visual_tokens, plan_grids
from model.packets import Data, MediaError
from model.processor_files import read_placeholder_ids, read_rules, write_chat_template, write_rules
from model.prune import prune_mask
from model.tokenizer import IMAGE_TOKEN, STREAM_END, STREAM_START, Tokenizer

ImageInput = Data | Image.Image | np.ndarray
VideoInput = Data | Frames


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
        """Read a directory: ours, transformers', or the original release's. `rules` replace what it says.

        Raises ValueError if there is no tokenizer, or no token for the media.
        """
        path = Path(path)
        tokenizer = Tokenizer.load(path)
        tokenizer.add_special_tokens([IMAGE_TOKEN, STREAM_START, STREAM_END])  # plain Qwen2.5 lacks them
        return cls(
            tokenizer=tokenizer,
            rules=replace(read_rules(path), **rules),
            placeholder_ids=read_placeholder_ids(path) or placeholder_ids(tokenizer),
        )

    def save_pretrained(self, path: str | Path) -> None:
        """Write the tokenizer, the rules, and the files that transformers' VideoLlama3Processor reads."""
        image, video = (self.tokenizer.backend.id_to_token(one) for one in self.placeholder_ids)
        self.tokenizer.save(path, image_token=image, video_token=video)
        write_rules(path, self.rules)
        write_chat_template(path, image_token=image, video_token=video)

    def __call__(
        self,
        conversation: Sequence[Any],
        images: Sequence[ImageInput] | None = None,
        videos: Sequence[VideoInput] | None = None,
        *,
        max_tokens: int | None = None,
        seed: int | str = 0,
        generation: bool = False,
    ) -> Encoded:
        """Encode one sample.

        `conversation` are turns as `model.chat.split_turns` reads them; their tags take images and videos in order.
        `max_tokens` replaces the visual budget. `seed` is that of `encode_chat`. `generation` opens an assistant turn.
        Raises ValueError (MediaError for a picture or clip), naming the medium.
        """
        rules = self.rules if max_tokens is None else replace(self.rules, max_tokens=max_tokens)
        turns = split_turns(conversation)
        media = list(_read_media(turns, images or (), videos or (), rules))
        grids = plan_grids([medium.geometry for medium in media], rules)
        patches = [_patches(medium, grid, rules) for medium, grid in zip(media, grids, strict=True)]
        masks = [_mask(medium, grid, part, rules) for medium, grid, part in zip(media, grids, patches, strict=True)]
        visuals = [
            Visual(kind=medium.geometry.kind, tokens=tuple(mask.sum(axis=1).tolist()), times=medium.times)
            for medium, mask in zip(media, masks, strict=True)
        ]
        tokens, labels = encode_chat(
            turns, visuals, self.tokenizer, placeholder_ids=self.placeholder_ids, seed=seed, generation=generation
        )
        return Encoded(
            tokens=tokens,
            labels=labels,
            patches=np.concatenate(patches) if patches else np.zeros((0, PATCH_VALUES), np.uint8),
            grids=np.array(grids, np.int64).reshape(-1, 3),
            merges=np.array([rules.merge(medium.geometry.kind) for medium in media], np.int64),
            keep=np.concatenate([mask.ravel() for mask in masks]) if masks else np.zeros(0, bool),
            kinds=tuple(medium.geometry.kind for medium in media),
        )

    def visual_tokens(self, media: Sequence[Medium]) -> list[int]:
        """Visual tokens of each medium of a sample before pruning, from sizes alone."""
        return count_visual_tokens(media, self.rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Medium:
    """A medium whose size is known and whose pixels may still be encoded."""

    name: str
    geometry: Medium
    pixels: np.ndarray | None = None  # F H W 3
    clip: VideoInput | None = None
    plan: FramePlan | None = None
    times: tuple[float, ...] = ()


def patchify(pixels: np.ndarray, *, patch: int, merge: int) -> np.ndarray:
    """Pixels [F, H, W, 3] as rows of patches [P, K]: each merge x merge square is a run of rows, colours apart in a row.

    Source: VideoLLaMA3's released image processor.
    """
    frames, height, width, _ = pixels.shape
    rows, columns = height // patch // merge, width // patch // merge
    squares = pixels.reshape(frames, rows, merge, patch, columns, merge, patch, 3)
    return squares.transpose(0, 1, 4, 2, 5, 7, 3, 6).reshape(-1, 3 * patch * patch)  # F R C m m 3 p p -> P K


def _read_media(
    turns: Sequence[Turn], images: Sequence[ImageInput], videos: Sequence[VideoInput], rules: VisualRules
) -> Iterator[_Medium]:
    kinds = [part.kind for turn in turns for part in turn.parts if isinstance(part, Place)]
    if (kinds.count("image"), kinds.count("video")) != (len(images), len(videos)):
        raise ValueError(
            f"conversation: found {kinds.count('image')} <image> and {kinds.count('video')} <video>, given {len(images)} "
            f"images and {len(videos)} videos; write one tag per medium where it stands"
        )
    ranks = {"image": 0, "video": 0}
    for kind in kinds:
        rank = ranks[kind]
        ranks[kind] += 1
        try:
            yield (
                _picture(images[rank], rank) if kind == "image" else _clip(videos[rank], rank, rules, last_time(turns))
            )
        except MediaError as error:
            raise MediaError(f"{kind} {rank}: {error}") from error


def _picture(image: ImageInput, rank: int) -> _Medium:
    pixels = image if isinstance(image, np.ndarray) else decode_image(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise MediaError(f"found {pixels.dtype} {pixels.shape}, wanted uint8 [height, width, 3]")
    return _Medium(name=f"image {rank}", geometry=Medium("image", *pixels.shape[:2]), pixels=pixels[None])


def _clip(video: VideoInput, rank: int, rules: VisualRules, last: float | None) -> _Medium:
    """A clip; `last` is the second after which a streaming sample needs no more frames."""
    name = f"video {rank}"
    if isinstance(video, Frames):
        shown = len(video.times) if last is None else max(1, sum(time <= last for time in video.times))
        pixels = video.pixels[:shown]
        geometry = Medium("video", *pixels.shape[1:3], frames=shown)
        return _Medium(name=name, geometry=geometry, pixels=pixels, times=video.times[:shown])
    plan = plan_frames(video, rules, end=None if last is None else last + 1 / rules.fps)
    geometry = Medium("video", plan.height, plan.width, len(plan.times))
    return _Medium(name=name, geometry=geometry, clip=video, plan=plan, times=plan.times)


def _patches(medium: _Medium, grid: Grid, rules: VisualRules) -> np.ndarray:
    height, width = grid.rows * rules.patch, grid.columns * rules.patch
    if medium.pixels is not None:
        pixels = np.stack([resize_frame(frame, height, width) for frame in medium.pixels])
    else:
        assert medium.plan is not None
        assert not isinstance(medium.clip, Frames)
        assert medium.clip is not None
        try:
            pixels = decode_frames(medium.clip, medium.plan, height=height, width=width).pixels
        except MediaError as error:
            raise MediaError(f"{medium.name}: {error}") from error
    return patchify(pixels, patch=rules.patch, merge=rules.merge(medium.geometry.kind))


def _mask(medium: _Medium, grid: Grid, patches: np.ndarray, rules: VisualRules) -> np.ndarray:
    """Visual tokens to keep, bool [F, tokens of a frame]."""
    tokens = grid.tokens(rules.merge(medium.geometry.kind)) // grid.frames
    if medium.geometry.kind == "image" or not rules.prune:
        return np.ones((grid.frames, tokens), bool)
    per_token = patches.reshape(grid.frames, tokens, -1)
    return prune_mask(per_token, threshold=rules.threshold, min_tokens=rules.min_prune_tokens)
