"""Stills: small grey frames of a clip at a fixed rate, in one cheap decode."""

import numpy as np

from curation.media.limits import MAX_FRAME_PIXELS, check_size
from curation.media.video import (
    _check_stream,  # pyright: ignore[reportPrivateUsage]  one decoder set-up, one set of limits
    _frames,  # pyright: ignore[reportPrivateUsage]
    _opened,  # pyright: ignore[reportPrivateUsage]
    _Tally,  # pyright: ignore[reportPrivateUsage]
)
from curation.sample import SampleError


def grey_stills(data: bytes, *, rate: float, side: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The first frame at or after each tick of a clock from the clip's first frame.

    Frames that no other frame refers to are not decoded (about half of a clip with B-frames), so a still may come one or
    two frames later than its tick. Long clips are cut after `most` stills.

    Returns:
        Times in seconds from the first frame, float32 [F], and grey uint8 [F, side, side].

    Raises:
        SampleError: it does not open, or not one frame decodes.
    """
    times: list[float] = []
    stills: list[np.ndarray] = []
    with _opened(data) as (container, stream, video_format):
        _check_stream(container, stream, video_format)
        stream.codec_context.skip_frame = "NONREF"
        tally, first, due = _Tally(), None, 0.0
        for frame in _frames(container, stream, tally):
            check_size(frame.width, frame.height, what="video frame", limit=MAX_FRAME_PIXELS)
            first = (frame.time or 0.0) if first is None else first
            time = (frame.time or 0.0) - first
            if time + 1e-3 < due or frame.is_corrupt:
                continue
            due = (np.floor((time + 1e-3) * rate) + 1) / rate
            small = frame.reformat(width=side, height=side, format="gray", interpolation="AREA")
            stills.append(
                np.rot90(small.to_ndarray(), -(frame.rotation // 90) % 4) if frame.rotation else small.to_ndarray()
            )
            times.append(time)
            if len(stills) == most:
                break
        if not stills:
            raise SampleError(f"{video_format} decodes to no frame ({tally.error or 'it is empty'}): fetch it again")
    return np.array(times, np.float32), np.stack(stills)
