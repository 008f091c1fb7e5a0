"""Films: frames joined by known cuts, dissolves and fades, and encoded, for tests of what a clip shows."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal, cast

import av
import cv2
import numpy as np
from av.video.frame import PictureType
from av.video.stream import VideoStream

from curation.media.shots import Transition

RATE = 25


def shot(frames: int, *, seed: int, width: int = 128, height: int = 72, speed: float = 0.6) -> np.ndarray:
    """A camera that pans over a random scene, uint8 [F, H, W, 3]."""
    rng = np.random.default_rng(seed)
    scene = cv2.resize(
        rng.integers(0, 256, (9, 14, 3), dtype=np.uint8), (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC
    )
    at = [(int(speed * n) % width, int(0.5 * speed * n) % height) for n in range(frames)]
    return np.stack([scene[y : y + height, x : x + width] for x, y in at])


@dataclass
class Film:
    """Frames so far, and the transitions within them."""

    frames: np.ndarray
    truth: list[Transition]

    def join(self, kind: Literal["cut", "dissolve", "fade"], new: np.ndarray, *, length: int = 12) -> None:
        old, last = self.frames, len(self.frames) - 1
        if kind == "cut":
            self.truth.append(Transition("cut", last, last + 1))
            self.frames = np.concatenate([old, new])
            return
        share = (np.arange(1, length + 1) / (length + 1))[:, None, None, None]
        tail, head = old[-length:], new[:length]
        if kind == "dissolve":
            between = tail * (1 - share) + head * share
        else:
            between = np.concatenate([tail * (1 - share), np.zeros((2, *tail.shape[1:])), head * share])
        self.frames = np.concatenate([old[:-length], np.rint(between).astype(np.uint8), new[length:]])
        self.truth.append(Transition(kind, last - length, last - length + len(between) + 1))


def encode(
    frames: np.ndarray,
    *,
    rate: int = RATE,
    times: Sequence[int] | None = None,
    keys: Sequence[int] = (),
    codec: str = "libx264",
    **options: str,
) -> bytes:
    """H.264 (or another codec) in MP4 with B-frames; `times` in thousandths of a second make its rate variable; `keys` are key frames."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = cast(VideoStream, output.add_stream(codec, rate=rate))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.codec_context.options = {"preset": "veryfast", "crf": "20", "threads": "1", **options}
        if codec != "libx264":
            stream.codec_context.options, stream.bit_rate = {"threads": "1"}, 4_000_000
        unit = Fraction(1, rate) if times is None else Fraction(1, 1000)
        stream.codec_context.time_base = unit
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = number if times is None else times[number], unit
            if number in keys:
                frame.pict_type = PictureType.I
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return buffer.getvalue()


def matched(found: Sequence[Transition], truth: Sequence[Transition]) -> int:
    """How many are found: a cut within one frame, others by a centre that lies within them (two frames of grace)."""
    left = list(found)
    for known in truth:
        for one in left:
            near = abs(one.first - known.first) <= 1
            within = known.last - 2 <= (one.last + one.first) / 2 <= known.first + 2
            if near if known.kind == "cut" else within:
                left.remove(one)
                break
    return len(found) - len(left)


def transitions_of(shots: Sequence[tuple[float, float]], rate: float = RATE) -> list[Transition]:
    """The gaps between the shots of a scan, as frames; their kind is not told."""
    ends = [(round(before[1] * rate), round(after[0] * rate)) for before, after in pairwise(shots)]
    return [Transition("cut" if first - last <= 2 else "dissolve", last, first) for last, first in ends]
