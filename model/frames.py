"""Frames: encoded pictures and clips, from bytes that nobody vouches for, to RGB pixels.

Images by Pillow, videos by PyAV, each on one thread. Sizes are checked before pixels exist; a clip is decoded once, and
each sampled frame is resized at once, so that no clip ever lies in memory at its full resolution.

Shapes: F frames, H height, W width; pixels are uint8 RGB.
"""

from __future__ import annotations

import io
import struct
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av.error
import numpy as np
import simplejpeg
from av.video.frame import VideoFrame
from PIL import Image, ImageOps

from model.geometry import Medium, VisualRules, plan_grids
from model.packets import Data, MediaError, check_size, needed_packets, opened, scan_packets

MAX_PIXELS = 89_478_485  # of an image or a frame: Pillow's own line between a large picture and a bomb
MAX_SECONDS = 6 * 3600.0  # of a clip
ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
GIF_FPS = Fraction(25)  # the reference takes every GIF to run at this rate
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO", "ICO", "TGA", "JPEG2000", "AVIF")

_IMAGE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, struct.error, MemoryError)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frames:
    """Sampled frames of a clip: `pixels` uint8 [F, H, W, 3] and the `times` of the frames in seconds."""

    pixels: np.ndarray
    times: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.shape[-1] != 3 or self.pixels.dtype != np.uint8:
            raise MediaError(f"Frames: found {self.pixels.dtype} {self.pixels.shape}, wanted uint8 [F, H, W, 3]")
        if not len(self.times) or len(self.times) != len(self.pixels):
            raise MediaError(
                f"Frames: found {len(self.pixels)} frames and {len(self.times)} times, wanted one for each"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePlan:
    """Which frames of a clip to take, known before any but the first is decoded.

    `height` and `width` are pixels as displayed, `times` seconds of the frames. `wanted` names each frame by its time
    stamp or, if `stamped` is false, by its rank among the decoded. `needed` marks the packets to decode, in file order.
    """

    height: int
    width: int
    times: tuple[float, ...]
    wanted: tuple[int, ...]
    stamped: bool
    needed: tuple[bool, ...]


def decode_image(data: Data | Image.Image, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Pixels uint8 [H, W, 3] of a picture, upright. The content decides the format, whatever a name says.

    Animations give their first frame; transparency lies on white; deeper than 8 bits is scaled to 8.
    Raises MediaError if it is no picture, damaged, or has more than `max_pixels`.
    """
    if isinstance(data, Image.Image):
        return _to_rgb(data)
    file = io.BytesIO(data) if isinstance(data, (bytes, bytearray, memoryview)) else data
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damaged metadata, and of sizes that are checked here
            with Image.open(file, formats=IMAGE_FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise MediaError(f"image: header declares {width} x {height} pixels, limit {max_pixels} in all")
                if isinstance(file, io.BytesIO) and (pixels := _plain_jpeg(image, file)) is not None:
                    return pixels
                return _to_rgb(ImageOps.exif_transpose(image))
    except MediaError:
        raise
    except (Image.DecompressionBombError, *_IMAGE_ERRORS) as error:
        raise MediaError(f"image: cannot be decoded ({type(error).__name__}: {str(error)[:120]})") from error


def _plain_jpeg(image: Image.Image, file: io.BytesIO) -> np.ndarray | None:
    """Pixels of an upright colour or grey JPEG, the same that Pillow gives, in half the time; None leaves it to Pillow,
    which also words what is wrong with a damaged one.
    """
    if image.format != "JPEG" or image.mode not in ("RGB", "L") or image.getexif().get(ORIENTATION, 1) != 1:
        return None
    try:
        return simplejpeg.decode_jpeg(file.getbuffer(), "RGB")
    except ValueError:
        return None


def resize_frame(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels uint8 [H, W, 3] at another size, by the reference's filter (Pillow's bicubic)."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def sample_video(
    data: Data,
    rules: VisualRules,
    start: float | None = None,
    end: float | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    max_seconds: float = MAX_SECONDS,
) -> Frames:
    """Frames of a clip at the rules' rate, resized as the only medium of a sample.

    Frame k stands for second `start` + k / fps and is the last one shown before the next takes over; a rest shorter
    than 1 / fps gives none; a clip shorter than that gives its middle frame. More than `max_frames` are thinned evenly.
    `start` and `end` are seconds from the clip's beginning.
    Raises MediaError if the clip is damaged, empty or too long, or its frames are too large.

    Source: VideoLLaMA3's released loader (ffmpeg's fps filter, rounding down).
    """
    plan = plan_frames(data, rules, start, end, max_pixels=max_pixels, max_seconds=max_seconds)
    (grid,) = plan_grids([Medium("video", plan.height, plan.width, len(plan.times))], rules)
    height, width = grid.rows * rules.patch, grid.columns * rules.patch
    return decode_frames(data, plan, height=height, width=width, max_pixels=max_pixels)


def plan_frames(
    data: Data,
    rules: VisualRules,
    start: float | None = None,
    end: float | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    max_seconds: float = MAX_SECONDS,
) -> FramePlan:
    """Read a clip's packets, decode its first frame, and choose the frames to take. Raises as `sample_video`."""
    scan = scan_packets(data, max_pixels=max_pixels)
    if scan.stamped:
        names = sorted(packet.pts for packet in scan.packets if packet.shown and packet.pts is not None)
        seconds = [name * scan.tick - scan.origin for name in names]
    else:  # a raw stream has no time stamps: frames come at the declared rate
        names = list(range(sum(packet.shown for packet in scan.packets)))
        seconds = [name / scan.rate for name in names]
    if scan.is_gif:
        seconds = [rank / GIF_FPS for rank in range(len(names))]
    length = float(seconds[-1] + scan.last)
    if length > max_seconds:
        raise MediaError(f"video: lasts {length:.0f} s, limit {max_seconds:.0f} s; cut it into clips")
    ranks, times = choose_frames(seconds, scan.last, rules, start, end, middle=scan.is_gif)
    wanted = tuple(names[rank] for rank in ranks)
    return FramePlan(
        height=scan.height,
        width=scan.width,
        times=times,
        wanted=wanted,
        stamped=scan.stamped,
        needed=needed_packets(scan.packets, set(wanted)) if scan.stamped else (True,) * len(scan.packets),
    )


def choose_frames(
    seconds: Sequence[Fraction],
    last: Fraction,
    rules: VisualRules,
    start: float | None = None,
    end: float | None = None,
    *,
    middle: bool = False,
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Ranks and times of the frames to take from a clip whose frames are shown at `seconds`, the last one for `last`.

    `middle` takes the middle of each stretch of 1 / fps instead of its last frame: the reference's way with GIFs.
    """
    offset = _fraction(start or 0.0)
    close = seconds[-1] + last if end is None else min(seconds[-1] + last, _fraction(end))
    first, stop = bisect_left(seconds, offset), bisect_left(seconds, close)
    if offset < 0 or stop <= first:
        raise MediaError(f"video: no frame from {start or 0} s to {end} s; it lasts {float(seconds[-1] + last):.2f} s")
    step = 1 / _fraction(rules.fps)
    count = int((close - offset) / step)
    if middle:
        size = min(max(1, int(step * GIF_FPS)), stop - first)
        ranks = list(range(first + size // 2, stop, size))
        times = [seconds[rank] for rank in ranks]
    elif count:
        marks = range(min(int((seconds[first] - offset) / step), count - 1), count)  # nothing shows before the first
        ranks = [max(first, bisect_left(seconds, offset + (mark + 1) * step, first, stop) - 1) for mark in marks]
        times = [offset + mark * step for mark in marks]
    else:
        ranks = [first + (stop - first) // 2]
        times = [seconds[ranks[0]]]
    if len(ranks) > rules.max_frames:
        thinned = np.linspace(0, len(ranks) - 1, rules.max_frames, dtype=int).tolist()
        ranks, times = [ranks[i] for i in thinned], [times[i] for i in thinned]
    return tuple(ranks), tuple(float(time) for time in times)


def decode_frames(data: Data, plan: FramePlan, *, height: int, width: int, max_pixels: int = MAX_PIXELS) -> Frames:
    """Decode the planned frames at the given size. Raises MediaError if one of them cannot be decoded."""
    found = _collect(data, plan, (height, width), max_pixels, thrifty=plan.stamped)
    if plan.stamped and not found.keys() >= set(plan.wanted):  # one leans on packets that looked spare: decode them all
        found = _collect(data, plan, (height, width), max_pixels, thrifty=False)
    missing = [time for time, name in zip(plan.times, plan.wanted, strict=True) if name not in found]
    if missing:
        raise MediaError(
            f"video: {len(missing)} of {len(plan.times)} frames cannot be decoded, first at {missing[0]:.1f} s; "
            "the file is damaged or truncated"
        )
    return Frames(pixels=np.stack([found[name] for name in plan.wanted]), times=plan.times)


def _collect(
    data: Data, plan: FramePlan, size: tuple[int, int], max_pixels: int, *, thrifty: bool
) -> dict[int, np.ndarray]:
    wanted = set(plan.wanted)
    found: dict[int, np.ndarray] = {}
    for rank, frame in enumerate(_decoded(data, plan, wanted, thrifty=thrifty)):
        name = frame.pts if plan.stamped else rank
        if name in wanted and name not in found:
            check_size(frame.width, frame.height, max_pixels)
            pixels = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
            found[name] = resize_frame(np.ascontiguousarray(pixels), *size)
            if len(found) == len(wanted):
                break
    return found


def _decoded(data: Data, plan: FramePlan, wanted: set[int], *, thrifty: bool) -> Iterator[VideoFrame]:
    """Frames in the order they are shown. Thrifty: without those that no wanted frame leans on."""
    with opened(data) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        packets = (packet for packet in container.demux(stream) if packet.size)
        gap = False
        for packet, needed in zip(packets, plan.needed, strict=False):
            if thrifty and not needed:
                gap = True
                continue
            if gap:  # the decoder must forget what does not precede this packet
                yield from context.decode(None)
                context.flush_buffers()
                gap = False
            if thrifty:
                context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            try:
                frames = context.decode(packet)
            except av.error.InvalidDataError:
                continue  # as ffmpeg does; a wanted frame that is lost will be missed by the caller
            yield from frames
        yield from context.decode(None)


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.nan_to_num(np.asarray(image, np.float64))
        # Integers hold 16 bits, the only depth beyond 8 among the formats opened; floats hold 0..1 or 0..255.
        scale = 1 / 257 if image.mode != "F" else 255.0 if values.max(initial=0.0) <= 1 else 1.0
        grey = np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _fraction(seconds: float) -> Fraction:
    return Fraction(seconds).limit_denominator(1_000_000)
