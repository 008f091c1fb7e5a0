"""Clips: videos of one shape that moves and then stops, with a caption and questions that need the time."""

import io
import random
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream
from PIL import Image, ImageDraw

from curation.sources.synthetic.scenes import COLOURS, FORMS, GROUNDS, draw_shape

FPS = 8
# A fixed quantiser and no CPU-specific shortcuts: rate control by quality gave other bytes in one clip of five.
_X264 = {"qp": "26", "preset": "veryfast", "x264-params": "cpu-independent=1:threads=1:lookahead-threads=1"}
_DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipStyle:
    """side: of the picture, in pixels. beats: a shape stops at a multiple of one so-manieth of a second."""

    side: int = 112
    beats: int = 2


STANDARD = ClipStyle()
# What a model sees that is shown one frame a second.
SMALL = ClipStyle(side=56, beats=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A shape that moves across in a direction until `stop`; times in seconds.

    lane: pixel row or column that it moves along. side: of the picture, in pixels.
    """

    colour: str
    form: str
    ground: str
    direction: str
    lane: int
    stop: float
    duration: float
    side: int = STANDARD.side

    @property
    def name(self) -> str:
        """What moves."""
        return f"{self.colour} {self.form}"

    @property
    def caption(self) -> str:
        """What happens."""
        moves = f"A {self.name} moves {self.direction} on a {self.ground} background"
        return f"{moves} and stops after {self.stop:.1f} seconds."


def make_clip(rng: random.Random, style: ClipStyle = STANDARD) -> Clip:
    """A clip of 2 to 6 seconds; the shape stops after one second, and at least half a second before the end."""
    side, beats = style.side, style.beats
    border = 20 * side // STANDARD.side
    half_seconds = rng.randint(4, 12)
    return Clip(
        colour=rng.choice(list(COLOURS)),
        form=rng.choice(FORMS),
        ground=rng.choice(list(GROUNDS)),
        direction=rng.choice(list(_DIRECTIONS)),
        lane=rng.randint(border, side - border),
        stop=rng.randint(beats, (half_seconds - 1) * beats // 2) / beats,
        duration=half_seconds / 2,
        side=side,
    )


def questions(clip: Clip, rng: random.Random) -> list[tuple[str, str]]:
    """Questions about the clip with their answers, in random order."""
    asked = [
        (f"When does the {clip.name} stop?", f"It stops at {clip.stop:.1f} seconds."),
        (f"Which way does the {clip.name} move?", f"It moves {clip.direction}."),
        (f"What colour is the moving {clip.form}?", f"It is {clip.colour}."),
    ]
    rng.shuffle(asked)
    return asked


def draw_frames(clip: Clip) -> list[np.ndarray]:
    """The frames, uint8 [rows, columns, 3]."""
    dx, dy = _DIRECTIONS[clip.direction]
    width = 30 * clip.side // STANDARD.side
    margin, moving = width // 2 + 2, round(clip.stop * FPS)
    path = clip.side - 2 * margin
    frames: list[np.ndarray] = []
    for number in range(round(clip.duration * FPS)):
        way = path * min(1.0, number / moving)
        image = Image.new("RGB", (clip.side, clip.side), GROUNDS[clip.ground])
        x, y = (margin + _along(way, path, step) if step else clip.lane for step in (dx, dy))
        draw_shape(ImageDraw.Draw(image), clip.form, clip.colour, x=x, y=y, width=width)
        frames.append(np.asarray(image))
    return frames


def _along(way: float, path: int, step: int) -> int:
    return round(way if step > 0 else path - way)


def encode_mp4(frames: list[np.ndarray], *, fps: int = FPS) -> bytes:
    """An MP4 of the frames, the same bytes every time: H.264, or MPEG-4 where FFmpeg has no encoder for it."""
    buffer = io.BytesIO()
    has_x264 = "libx264" in av.codecs_available
    rows, columns = frames[0].shape[:2]
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = cast(VideoStream, container.add_stream("libx264" if has_x264 else "mpeg4", rate=fps))
        stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, fps)
        stream.codec_context.options = _X264 if has_x264 else {"qscale": "4"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()
