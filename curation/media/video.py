"""Video: what a clip declares and what one full decode of it shows."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

import av
import av.error
import av.logging
import av.stream
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from curation.media.disposable import disposables
from curation.media.formats import DEMUXERS, HEAD_BYTES, require_format
from curation.media.limits import MAX_DURATION, MAX_FRAME_PIXELS, MAX_FRAMES, check_bytes, check_size
from curation.media.look import VideoLook, Watcher
from curation.sample import SampleError

# Frames that may be missing before a clip counts as cut: edit lists and the last B-frames legally lose a few.
MISSING_FRAMES, MISSING_SHARE = 2, 0.05
# What a clip comes as: its bytes, or a file of them, which need not fit into memory.
Clip = bytes | BinaryIO
# A container can hold packets that never become a frame; more than this many per frame of the limit is a loop.
MAX_PACKETS = 4 * MAX_FRAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """What the container declares: pixels as displayed, seconds, frames per second, frames; 0 = it does not say."""

    format: str
    width: int
    height: int
    duration: float
    fps: float
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoScan:
    """What one decode of a clip shows.

    frames: frames that decode undamaged, `skipped` included: frames on which no other leans, which are not looked at, and are
    decoded only by a thorough scan; damaged: frames the decoder patched up; first, last: times of the first and last frame in
    seconds; duration: last - first and one frame more, in seconds; fps: frames over duration, so for variable rates
    their mean; width, height: pixels as displayed; declared: frames the container declares (0 = does not say); errors:
    how many packets failed; error: what the first of them said; audio: sound tracks; thorough: whether every frame was
    decoded; look: what is to be seen.
    """

    frames: int
    skipped: int
    damaged: int
    first: float
    last: float
    duration: float
    fps: float
    width: int
    height: int
    declared: int
    errors: int
    error: str
    audio: int
    thorough: bool
    look: VideoLook

    @property
    def complete(self) -> bool:
        """Whether as many frames decode as are declared, but for a few that edit lists and stream ends legally lose."""
        wanted = self.declared or self.frames + self.damaged + self.errors
        return wanted - self.frames <= max(MISSING_FRAMES, MISSING_SHARE * wanted)


def probe_video(data: Clip) -> VideoFacts:
    """What the container declares; at most the first frame is decoded, since only it knows its rotation.

    Raises:
        SampleError: no allowed container, no video in it, or beyond the limits.
    """
    with open_video(data) as (container, stream, video_format):
        width, height = _check_stream(container, stream, video_format)
        try:
            frame = next(container.decode(stream), None)
        except (av.error.FFmpegError, ValueError):
            frame = None  # whether it decodes is for scan_video to say
        if frame is not None:
            width, height = _displayed(frame)
        duration, fps = _duration(container, stream), float(stream.average_rate or 0)
        guess = round(duration * fps)
        frames = stream.frames or (guess if guess <= MAX_FRAMES else 0)  # some rates are nonsense
        return VideoFacts(format=video_format, width=width, height=height, duration=duration, fps=fps, frames=frames)


def scan_video(data: Clip, *, thorough: bool = False) -> VideoScan:
    """Decode a clip once, on one thread, looking at each frame and keeping none.

    H.264 frames that no other frame leans on are not decoded where their packets are whole (see
    `curation.media.disposable`), never two in a row: that costs about half, and of damage only changed bits within such
    a frame go unseen. `thorough` decodes them too, so that every frame counted is one that really decodes; what is
    looked at stays the same. The deblocking filter, which only smooths, is left out.

    A clip that stops decoding early, or loses frames in the middle, is described and not refused: `errors`, `damaged`
    and `complete` say so, and a filter decides.

    Raises:
        SampleError: it does not open, not one frame decodes, or it is beyond the limits.
    """
    with open_video(data) as (container, stream, video_format):
        width, height = _check_stream(container, stream, video_format)
        stream.codec_context.options = {"skip_loop_filter": "all", "flags2": "+export_mvs"}
        watcher = Watcher(width=width, height=height, duration=_duration(container, stream))
        tally = _Tally(watcher, rate=float(stream.average_rate or 0))
        for frame, spare in _frames(container, stream, tally, thorough=thorough):
            tally.add(frame, spare=spare)
        if tally.frames == tally.skipped:
            raise SampleError(f"{video_format} decodes to no frame ({tally.error or 'it is empty'}): fetch it again")
        scan = tally.scan(rate=float(stream.average_rate or 0), audio=len(container.streams.audio), thorough=thorough)
        return replace(scan, declared=_declared(container, stream, video_format, scan.fps))


class _Tally:
    """Running counts of one scan."""

    def __init__(self, watcher: Watcher, *, rate: float) -> None:
        self.watcher = watcher
        self.rate = rate or 25.0  # of frames without a time
        self.frames = self.skipped = self.damaged = self.errors = 0
        self.error = ""
        self.width = self.height = 0
        self.first, self.last = math.inf, -math.inf

    def add(self, frame: VideoFrame, *, spare: bool = False) -> None:
        check_size(frame.width, frame.height, what="video frame", limit=MAX_FRAME_PIXELS)
        if frame.is_corrupt:
            self.damaged += 1
            return
        if spare and frame.time is not None:
            self.skip(frame.time)
            return
        if self.frames == self.skipped:
            self.width, self.height = _displayed(frame)
        self._count(frame.time)
        self.watcher.add(frame, self.frames / self.rate if frame.time is None else frame.time)

    def skip(self, time: float) -> None:
        """A frame that is there and is not looked at."""
        self.skipped += 1
        self._count(time)
        self.watcher.skip(time)

    def _count(self, time: float | None) -> None:
        self.frames += 1
        if time is not None:
            self.first, self.last = min(self.first, time), max(self.last, time)
        if self.frames > MAX_FRAMES or self.last - self.first > MAX_DURATION:
            limits = f"{MAX_FRAMES:,} frames or {MAX_DURATION:,.0f} s"
            raise SampleError(f"video runs past {limits}: cut it into clips at the source")

    def fail(self, error: Exception) -> None:
        self.errors += 1
        self.error = self.error or _said(error)

    def scan(self, *, rate: float, audio: int, thorough: bool) -> VideoScan:
        first, last = (self.first, self.last) if self.last >= self.first else (0.0, 0.0)
        gap = (last - first) / (self.frames - 1) if last > first else 1 / rate if rate else 0.0
        duration = last - first + gap
        return VideoScan(
            frames=self.frames, skipped=self.skipped, damaged=self.damaged, first=first, last=last, duration=duration,
            fps=self.frames / duration if duration else 0.0, width=self.width, height=self.height, declared=0,
            errors=self.errors, error=self.error, audio=audio, thorough=thorough, look=self.watcher.look(),
        )  # fmt: skip


def _frames(
    container: InputContainer, stream: VideoStream, tally: _Tally, *, thorough: bool
) -> Iterator[tuple[VideoFrame, bool]]:
    """Every frame, and whether no other leans on it; those only if `thorough`. A packet that fails is counted and the next one tried."""
    packets = container.demux(stream)
    spare, spares = disposables(stream), set[int]()
    for _ in range(MAX_PACKETS):
        try:
            packet = next(packets, None)
            if packet is None:
                return
            leaned_on_by_none = spare(packet)
            skipped = leaned_on_by_none and not thorough
            if leaned_on_by_none and packet.pts is not None:
                spares.add(packet.pts)
            stream.codec_context.skip_frame = "NONREF" if skipped else "DEFAULT"
            frames = packet.decode()
            if skipped and not packet.is_discard and packet.pts is not None:
                tally.skip(packet.pts * packet.time_base.numerator / packet.time_base.denominator)
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, ValueError) as error:
            tally.fail(error)
            if tally.errors > MAX_FRAMES:
                return
            continue
        yield from ((frame, frame.pts in spares) for frame in frames if isinstance(frame, VideoFrame))
        spares.difference_update([frame.pts for frame in frames if frame.pts is not None])
    raise SampleError(f"video has more than {MAX_PACKETS:,} packets: cut it into clips at the source")


@contextmanager
def open_video(data: Clip) -> Iterator[tuple[InputContainer, VideoStream, str]]:
    """The container with its first real video stream, decoding on one thread."""
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    check_bytes(file.seek(0, io.SEEK_END), what="video")
    file.seek(0)
    video_format = require_format(file.read(HEAD_BYTES), "video")
    file.seek(0)
    av.logging.set_level(None)
    try:
        container = av.open(file, format=DEMUXERS[video_format], metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        raise SampleError(f"{video_format} does not open ({_said(error)}): fetch it again") from error
    if not isinstance(container, InputContainer):
        raise AssertionError("a container opened to be read is an InputContainer")
    with container:
        streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams:
            raise SampleError(f"{video_format} has no video stream: drop it at the source")
        stream = streams[0]
        if stream.codec_context is None:
            raise SampleError(f"{video_format} has a video stream no decoder knows: re-encode it at the source")
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        yield container, stream, video_format


def _check_stream(container: InputContainer, stream: VideoStream, video_format: str) -> tuple[int, int]:
    width, height = stream.codec_context.width, stream.codec_context.height
    check_size(width, height, what=video_format, limit=MAX_FRAME_PIXELS)
    if (duration := _duration(container, stream)) > MAX_DURATION:
        raise SampleError(
            f"{video_format} declares {duration:,.0f} s, limit {MAX_DURATION:,.0f} s: cut it at the source"
        )
    if stream.frames > MAX_FRAMES:
        raise SampleError(
            f"{video_format} declares {stream.frames:,} frames, limit {MAX_FRAMES:,}: cut it at the source"
        )
    return width, height


def _declared(container: InputContainer, stream: VideoStream, video_format: str, fps: float) -> int:
    """Frames the whole clip should give: by its sample table (MP4), or its duration at the rate seen; 0 = no telling.

    AVI counts frames it repeats without storing, and a container's duration may be that of a longer sound track.
    """
    if DEMUXERS[video_format] == "mov":
        return stream.frames
    known = stream.duration is not None or len(container.streams) == 1
    return round(_duration(container, stream) * fps) if known else 0


def _duration(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return max(0.0, float(stream.duration * stream.time_base))
    return max(0.0, (container.duration or 0) / av.time_base)


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _displayed(frame: VideoFrame) -> tuple[int, int]:
    return (frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height)
