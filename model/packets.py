"""Packets: what an encoded clip says of its frames before they are decoded.

Only formats on a list are opened, and only through file objects: by a name, or by a playlist, FFmpeg would read further
files and addresses.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, NamedTuple, cast

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

Data = bytes | bytearray | memoryview | str | Path | IO[bytes]

VIDEO_FORMATS = "mov,mp4,matroska,webm,avi,gif,apng,mpegts,mpeg,mpegvideo,flv,ogg,asf,m4v,h264,hevc,obu,ivf"


class MediaError(ValueError):
    """This picture or clip cannot be used: what was found in it, and what was wanted."""


class Stamp(NamedTuple):
    """One packet: time stamp in ticks (None if it has none), key frame or not, shown or not, length in ticks."""

    pts: int | None
    key: bool
    shown: bool
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A clip's packets in file order, and the size of its first frame as displayed.

    `stamped`: every shown packet has a time stamp. A stamp is `tick` seconds; the clip starts at `origin` seconds.
    `rate` is frames per second as declared; the last frame is shown for `last` seconds.
    """

    packets: tuple[Stamp, ...]
    stamped: bool
    tick: Fraction
    origin: Fraction
    rate: Fraction
    last: Fraction
    height: int
    width: int
    is_gif: bool


@contextmanager
def opened(data: Data) -> Iterator[InputContainer]:
    """The clip's container, with a video stream on one thread. What FFmpeg says of a bad file becomes a MediaError."""
    try:
        with ExitStack() as stack:
            if isinstance(data, (bytes, bytearray, memoryview)):
                file: IO[bytes] = io.BytesIO(data)
            elif isinstance(data, (str, Path)):
                file = stack.enter_context(open(data, "rb"))
            else:
                file = data
                file.seek(0)
            container = stack.enter_context(av.open(file, mode="r", options={"format_whitelist": VIDEO_FORMATS}))
            if not container.streams.video:
                raise MediaError(f"video: found a {container.format.name} file without a video stream")
            context = cast(VideoCodecContext | None, container.streams.video[0].codec_context)
            if context is None:
                raise MediaError("video: found a codec that FFmpeg does not know; encode the clip again")
            context.thread_count = 1
            yield container
    except MediaError:
        raise
    except (av.error.FFmpegError, OSError, UnicodeError) as error:
        raise MediaError(f"video: cannot be read ({type(error).__name__}: {str(error)[:120]})") from error


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise MediaError if a frame has more than `max_pixels`."""
    if width * height > max_pixels:
        raise MediaError(f"video: declares frames of {width} x {height} pixels, limit {max_pixels} in all")


def scan_packets(data: Data, *, max_pixels: int) -> Scan:
    """Read all packets of a clip and decode its first frame. Raises MediaError if it is damaged, empty or too large."""
    with opened(data) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        check_size(context.width, context.height, max_pixels)
        packets: list[Stamp] = []
        size: tuple[int, int] | None = None
        for packet in container.demux(stream):
            if packet.size:
                packets.append(Stamp(packet.pts, packet.is_keyframe, not packet.is_discard, packet.duration or 0))
                size = size or _first_size(context, packet)
        size = size or _first_size(context, None)
        shown = [packet for packet in packets if packet.shown]
        if not shown or size is None:
            raise MediaError(f"video: found {len(shown)} packets and no frame that can be decoded")
        if len(packets) < 0.95 * stream.frames:
            raise MediaError(f"video: truncated, found {len(packets)} of {stream.frames} frames that the file declares")
        rate = stream.average_rate or Fraction(25)
        tick = stream.time_base or 1 / rate
        stamped = all(packet.pts is not None for packet in shown)
        final = max(shown, key=lambda packet: packet.pts or 0)
        return Scan(
            packets=tuple(packets),
            stamped=stamped,
            tick=tick,
            origin=Fraction(container.start_time or 0, av.time_base),
            rate=rate,
            last=final.length * tick if stamped and final.length else 1 / rate,
            height=size[0],
            width=size[1],
            is_gif=container.format.name == "gif",
        )


def needed_packets(packets: Sequence[Stamp], wanted: set[int]) -> tuple[bool, ...]:
    """Which packets to decode for the wanted time stamps: whole runs from one key frame to the next."""
    runs: list[list[int]] = []
    for rank, packet in enumerate(packets):
        if packet.key or not runs:
            runs.append([])
        runs[-1].append(rank)
    needed = [False] * len(packets)
    for index, run in enumerate(runs):
        stamps = [pts for rank in run if (pts := packets[rank].pts) in wanted and pts is not None]
        if stamps:
            key = packets[run[0]].pts
            # A frame shown before the key frame that it follows in the file leans on the run before.
            leans = index > 0 and (key is None or min(stamps) < key)
            for rank in (*(runs[index - 1] if leans else ()), *run):
                needed[rank] = True
    return tuple(needed)


def _first_size(context: VideoCodecContext, packet: Packet | None) -> tuple[int, int] | None:
    try:
        for frame in context.decode(packet):
            upright = frame.rotation % 180 == 0
            return (frame.height, frame.width) if upright else (frame.width, frame.height)
    except av.error.InvalidDataError:
        return None  # the clip may start in the middle of a run; a later packet tells
    return None
