"""Stills: small grey frames of a clip at a fixed rate, in one cheap decode."""

from collections.abc import Iterator

import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from curation.media.limits import MAX_FRAME_PIXELS, check_size
from curation.media.video import MAX_PACKETS, Clip, open_video
from curation.sample import SampleError


def grey_stills(data: Clip, *, rate: float, side: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The first frame at or after each tick of a clock from the clip's first frame.

    Frames that no other frame refers to are not decoded (about half of a clip with B-frames), so a still may come one or
    two frames later than its tick. Packets that fail are passed over; long clips are cut after `most` stills.

    Returns:
        Times in seconds from the first frame, float32 [F], and grey uint8 [F, side, side].

    Raises:
        SampleError: it does not open, or not one frame decodes.
    """
    times: list[float] = []
    stills: list[np.ndarray] = []
    with open_video(data) as (container, stream, video_format):
        size = stream.codec_context.width, stream.codec_context.height
        check_size(*size, what=video_format, limit=MAX_FRAME_PIXELS)
        stream.codec_context.skip_frame = "NONREF"
        first, due = None, 0.0
        for frame in _frames(container, stream):
            check_size(frame.width, frame.height, what="video frame", limit=MAX_FRAME_PIXELS)
            first = (frame.time or 0.0) if first is None else first
            time = (frame.time or 0.0) - first
            if time + 1e-3 < due:
                continue
            due = (np.floor((time + 1e-3) * rate) + 1) / rate
            small = frame.reformat(width=side, height=side, format="gray", interpolation="AREA").to_ndarray()
            stills.append(np.rot90(small, frame.rotation // 90))
            times.append(time)
            if len(stills) == most:
                break
        if not stills:
            raise SampleError(f"{video_format} decodes to no frame: fetch it again")
    return np.array(times, np.float32), np.stack(stills)


def _frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Undamaged frames; a packet that fails is passed over."""
    packets = container.demux(stream)
    for _ in range(MAX_PACKETS):
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, ValueError):
            continue
        yield from (frame for frame in frames if isinstance(frame, VideoFrame) and not frame.is_corrupt)
