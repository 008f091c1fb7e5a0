"""Thumbnails: small pictures of media that nobody vouches for.

Dropped samples may never have been decoded before, so a decoder that hangs or dies must cost one picture, not the report.
"""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from curation.sample import Reference, SampleError
from pipelines.apart import Apart, LostError

if TYPE_CHECKING:
    import numpy as np

JPEG_QUALITY = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """Small pictures of one medium. pictures: JPEG; times: seconds of each frame (videos); error: why there are none.

    changes: mean absolute difference of neighbouring frames in grey levels, 0 to 255 (videos, one less than frames).
    """

    pictures: tuple[bytes, ...] = ()
    times: tuple[float, ...] = ()
    changes: tuple[float, ...] = ()
    error: str = ""


class Thumbnailer(Apart):
    """Makes thumbnails in a process of its own."""

    def make(self, reference: Reference, kind: str, *, side: int = 160, frames: int = 8) -> Thumbnail:
        """The thumbnail of one medium: at most `side` pixels high and twice as wide; `frames` of a video, evenly in time."""
        try:
            return self.call(make_thumbnail, reference, kind, side, frames)
        except LostError as error:
            return Thumbnail(error=f"does not decode: {error}")


def make_thumbnail(reference: Reference, kind: str, side: int, frames: int) -> Thumbnail:
    """A thumbnail in this process; errors of the sample become its `error`."""
    from curation.media.decode import decode_image
    from curation.media.read import open_reference, read_reference
    from model.packets import MediaError

    try:
        if kind == "video":
            with open_reference(reference) as file:
                return _strip(file, side, frames)
        return Thumbnail(pictures=(_jpeg(decode_image(read_reference(reference)), side),))
    except (SampleError, MediaError, MemoryError) as error:
        return Thumbnail(error=str(error) or type(error).__name__)


def _strip(data: BinaryIO, side: int, frames: int) -> Thumbnail:
    import numpy as np

    from model.frames import decode_frames, plan_frames
    from model.geometry import VisualRules

    rules = VisualRules(fps=4.0, max_frames=frames)
    plan = plan_frames(data, rules, max_seconds=7200.0)
    scale = min(side / plan.height, 2 * side / plan.width, 1.0)
    height, width = max(1, round(plan.height * scale)), max(1, round(plan.width * scale))
    clip = decode_frames(data, plan, height=height, width=width)
    grey = clip.pixels.mean(axis=3)
    changes = tuple(float(c) for c in np.abs(np.diff(grey, axis=0)).mean(axis=(1, 2)))
    pictures = tuple(_jpeg(frame, side) for frame in clip.pixels)
    return Thumbnail(pictures=pictures, times=tuple(clip.times), changes=changes)


def _jpeg(pixels: "np.ndarray", side: int) -> bytes:
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((2 * side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return file.getvalue()
