"""Excerpt: a stretch of a clip as a clip of its own, cut when it is read: the clip stays where it lies, nothing is copied."""

import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import Literal, cast

import av
import av.error
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from curation.media.video import MAX_PACKETS, Clip, open_video
from curation.sample import Reference, SampleError

# Member of a reference to an excerpt: "clip:copy:1500-4000:98304:name.mp4": from 1.5 s to 4 s, packets copied, of a clip of
# 98,304 bytes at the offset.
CLIP = "clip:"
Way = Literal["copy", "encode"]
# MP4 holds these; others go into Matroska.
_MP4_CODECS = ("h264", "hevc", "av1", "libdav1d", "mpeg4", "vp9", "libvpx-vp9")
# A fixed quantiser, and nothing that depends on the processor: the same bytes every time.
_X264 = {"qp": "20", "preset": "veryfast", "x264-params": "cpu-independent=1:threads=1:lookahead-threads=1"}


def excerpt_reference(clip: Reference, *, begin: int, end: int, way: Way, size: int) -> Reference:
    """The reference to the stretch from `begin` to `end` (thousandths of a second, both included), of `size` bytes."""
    return replace(clip, member=f"{CLIP}{way}:{begin}-{end}:{clip.size}:{clip.member}", size=size)


def clip_reference(reference: Reference) -> Reference:
    """The reference to the clip that an excerpt is cut from."""
    _, _, _, size, member = _place(reference)
    return replace(reference, member=member, size=size)


def read_excerpt(data: Clip, reference: Reference) -> bytes:
    """The excerpt that the reference names, of the clip.

    Raises:
        SampleError: the clip does not open, or holds no frame of that stretch.
    """
    way, begin, end, _, _ = _place(reference)
    return cut_clip(data, begin=begin, end=end, way=way)


def cut_clip(data: Clip, *, begin: int, end: int, way: Way) -> bytes:
    """The picture of a clip from `begin` to `end` (thousandths of a second, both included) as MP4 or Matroska, without sound.

    "copy" copies packets, from the first key frame of the stretch up to the first packet beyond it, so that no frame of
    another shot is in it; "encode" takes every frame of it and encodes anew (H.264, fixed quantiser).

    Raises:
        SampleError: the clip does not open, or holds no frame of that stretch.
    """
    with open_video(data) as (container, stream, _):
        buffer = io.BytesIO()
        form = "mp4" if way == "encode" or stream.codec_context.name in _MP4_CODECS else "matroska"
        with av.open(buffer, "w", format=form, options={"fflags": "+bitexact"}) as output:
            try:
                write = _copy if way == "copy" else _encode
                frames = write(container, stream, output, begin / 1000, end / 1000)
            except (av.error.FFmpegError, ValueError) as error:
                if isinstance(error, SampleError):
                    raise
                raise SampleError(
                    f"video cannot be cut at {begin / 1000:g} s ({error}): cut it at the source"
                ) from error
        if not frames:
            raise SampleError(f"video has no frame to start from between {begin / 1000:g} and {end / 1000:g} s")
        return buffer.getvalue()


def key_times(data: Clip) -> list[float]:
    """Times of the key frames of a clip, in seconds; nothing is decoded.

    Raises:
        SampleError: the clip does not open.
    """
    with open_video(data) as (container, stream, _):
        packets = _packets(container, stream)
        return [time for packet in packets if packet.is_keyframe and (time := _time(packet)) is not None]


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Packets in file order up to the first damage: the scan has told of it, and what comes before can be cut."""
    packets = container.demux(stream)
    with suppress(av.error.FFmpegError, ValueError):
        for _, packet in zip(range(MAX_PACKETS), packets, strict=False):
            if packet.size and not packet.is_discard:
                yield packet


def _time(packet: Packet) -> float | None:
    return None if packet.pts is None else float(packet.pts * packet.time_base)


def _copy(container: InputContainer, stream: VideoStream, output: OutputContainer, begin: float, end: float) -> int:
    target = output.add_stream_from_template(stream)
    base: int | None = None
    count = 0
    for packet in _packets(container, stream):
        time = _time(packet)
        if time is None or packet.pts is None or (base is None and not (packet.is_keyframe and time >= begin - _HALF)):
            continue
        if time > end + _HALF:
            break
        base = packet.pts if base is None else base
        if packet.pts < base:  # shown before the key frame it follows: it leans on what was left out
            continue
        packet.pts -= base
        packet.dts = None if packet.dts is None else packet.dts - base
        packet.stream = target
        output.mux(packet)
        count += 1
    return count


# Times are kept in thousandths of a second: two of them are the same frame if they lie closer than this.
_HALF = 0.0006


def _encode(container: InputContainer, stream: VideoStream, output: OutputContainer, begin: float, end: float) -> int:
    target = cast(VideoStream, output.add_stream("libx264", rate=stream.average_rate or 25))
    target.codec_context.options = _X264
    target.codec_context.thread_count = 1
    unit = stream.time_base or Fraction(1, 1000)
    target.codec_context.time_base = unit
    base: int | None = None
    count = 0
    for frame in _stretch(container, stream, begin, end):
        if base is None:
            target.width, target.height = frame.width // 2 * 2, frame.height // 2 * 2
            target.pix_fmt = "yuv420p"
            base = frame.pts
        shown = frame.reformat(target.width, target.height, "yuv420p")
        shown.pts, shown.time_base = (frame.pts or 0) - (base or 0), unit
        output.mux(target.encode(shown))
        count += 1
    if count:
        output.mux(target.encode(None))
    return count


def _stretch(container: InputContainer, stream: VideoStream, begin: float, end: float) -> Iterator[VideoFrame]:
    wanted: list[Packet] = []
    for packet in _packets(container, stream):
        time = _time(packet)
        if packet.is_keyframe and time is not None and time <= begin + _HALF:
            wanted.clear()
        if time is not None and time > end + 2:  # frames come out of order by a few; by now they all have
            break
        wanted.append(packet)
    unit = stream.time_base or Fraction(1, 1000)
    for packet in (*wanted, None):
        for frame in stream.codec_context.decode(packet):
            if frame.pts is not None and begin - _HALF <= float(frame.pts * unit) <= end + _HALF:
                yield frame


def _place(reference: Reference) -> tuple[Way, int, int, int, str]:
    """Way, begin, end, size and member of the clip."""
    way, stretch, size, member = reference.member.removeprefix(CLIP).split(":", 3)
    begin, end = stretch.split("-")
    return ("encode" if way == "encode" else "copy"), int(begin), int(end), int(size), member
