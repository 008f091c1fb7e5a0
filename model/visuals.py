"""Visuals: the media of a sample to patches and to the visual tokens that pruning keeps.

No torch: curation counts with the very code that the trainer encodes with.

Shapes: F frames, H height, W width, P patches, K values per patch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from model.chat import Place, Turn, Visual, last_time
from model.frames import FramePlan, Frames, decode_frames, decode_image, plan_frames, resize_frame
from model.geometry import Grid, Medium, VisualRules, plan_grids
from model.packets import Data, MediaError
from model.prune import prune_mask

ImageInput = Data | Image.Image | np.ndarray
VideoInput = Data | Frames


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMedium:
    """A medium of known size and frames: an image's or given frames' pixels [F, H, W, 3], or a clip with its plan."""

    name: str
    geometry: Medium
    times: tuple[float, ...] = ()
    pixels: np.ndarray | None = None
    clip: tuple[Data, FramePlan] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedMedium:
    """A medium as patches uint8 [P, K], and `keep` bool [F, visual tokens of a frame]."""

    geometry: Medium
    grid: Grid
    merge: int
    times: tuple[float, ...]
    patches: np.ndarray
    keep: np.ndarray

    @property
    def visual(self) -> Visual:
        """What the chat needs of it."""
        return Visual(kind=self.geometry.kind, tokens=tuple(self.keep.sum(axis=1).tolist()), times=self.times)


def open_media(
    turns: Sequence[Turn], images: Sequence[ImageInput], videos: Sequence[VideoInput], rules: VisualRules
) -> list[OpenMedium]:
    """The media in the order of their places in the turns; of videos, all but the first frame is still encoded.

    Raises ValueError if there are not as many as places, MediaError for one that cannot be used, naming it.
    """
    kinds = [part.kind for turn in turns for part in turn.parts if isinstance(part, Place)]
    for kind, given in (("image", images), ("video", videos)):
        if kinds.count(kind) != len(given):
            raise ValueError(
                f"conversation: found {kinds.count(kind)} <{kind}>, given {len(given)} {kind}s; "
                "write one tag per medium where it stands"
            )
    return list(_open(kinds, images, videos, rules, last_time(turns)))


def encode_media(media: Sequence[OpenMedium], rules: VisualRules) -> list[EncodedMedium]:
    """Decode, resize within the shared budget, cut into patches and prune. Raises MediaError, naming the medium."""
    grids = plan_grids([medium.geometry for medium in media], rules)
    return [encode_medium(medium, grid, rules) for medium, grid in zip(media, grids, strict=True)]


def patchify(pixels: np.ndarray, *, patch: int, merge: int) -> np.ndarray:
    """Pixels [F, H, W, 3] as patches [P, K]: each merge x merge square is a run of rows, in a row colours are apart.

    Source: VideoLLaMA3's released image processor.
    """
    frames, height, width, _ = pixels.shape
    rows, columns = height // patch // merge, width // patch // merge
    squares = pixels.reshape(frames, rows, merge, patch, columns, merge, patch, 3)
    return squares.transpose(0, 1, 4, 2, 5, 7, 3, 6).reshape(-1, 3 * patch * patch)  # F R C m m 3 p p -> P K


def _open(
    kinds: Sequence[str],
    images: Sequence[ImageInput],
    videos: Sequence[VideoInput],
    rules: VisualRules,
    last: float | None,
) -> Iterator[OpenMedium]:
    ranks = {"image": 0, "video": 0}
    for kind in kinds:
        rank = ranks[kind]
        ranks[kind] += 1
        name = f"{kind} {rank}"
        try:
            yield _open_image(images[rank], name) if kind == "image" else open_video(videos[rank], name, rules, last)
        except MediaError as error:
            raise MediaError(f"{name}: {error}") from error


def _open_image(image: ImageInput, name: str) -> OpenMedium:
    pixels = image if isinstance(image, np.ndarray) else decode_image(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise MediaError(f"found {pixels.dtype} {pixels.shape}, wanted uint8 [height, width, 3]")
    return OpenMedium(name=name, geometry=Medium("image", *pixels.shape[:2]), pixels=pixels[None])


def open_video(video: VideoInput, name: str, rules: VisualRules, last: float | None) -> OpenMedium:
    """A clip; `last` is the second after which a streaming sample needs no more frames."""
    if isinstance(video, Frames):
        shown = len(video.times) if last is None else max(1, sum(time <= last for time in video.times))
        pixels = video.pixels[:shown]
        geometry = Medium("video", *pixels.shape[1:3], frames=shown)
        return OpenMedium(name=name, geometry=geometry, pixels=pixels, times=video.times[:shown])
    plan = plan_frames(video, rules, end=None if last is None else last + 1 / rules.fps)
    geometry = Medium("video", plan.height, plan.width, len(plan.times))
    return OpenMedium(name=name, geometry=geometry, clip=(video, plan), times=plan.times)


def encode_medium(medium: OpenMedium, grid: Grid, rules: VisualRules) -> EncodedMedium:
    """Decode one medium at its grid's size, cut it into patches and prune. Raises MediaError, naming the medium."""
    kind = medium.geometry.kind
    merge = rules.merge(kind)
    patches = patchify(_pixels(medium, grid, rules), patch=rules.patch, merge=merge)
    tokens = grid.tokens(merge) // grid.frames
    keep = np.ones((grid.frames, tokens), bool)
    if kind == "video" and rules.prune:
        frames = patches.reshape(grid.frames, tokens, -1)
        keep = prune_mask(frames, threshold=rules.threshold, min_tokens=rules.min_prune_tokens)
    return EncodedMedium(
        geometry=medium.geometry, grid=grid, merge=merge, times=medium.times, patches=patches, keep=keep
    )


def _pixels(medium: OpenMedium, grid: Grid, rules: VisualRules) -> np.ndarray:
    height, width = grid.rows * rules.patch, grid.columns * rules.patch
    if medium.clip is None:
        assert medium.pixels is not None
        return np.stack([resize_frame(frame, height, width) for frame in medium.pixels])
    try:
        return decode_frames(*medium.clip, height=height, width=width).pixels
    except MediaError as error:
        raise MediaError(f"{medium.name}: {error}") from error
