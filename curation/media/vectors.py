"""Vectors: how fast the picture moves by the codec's own account, from the motion vectors that a decoder has at hand anyway."""

import numpy as np
from av.video.frame import VideoFrame

_KEY, _PREDICTED = 1, 2  # picture types I and P of FFmpeg


_EVERY = 0.25  # seconds between pictures that are asked


class VectorSpeed:
    """Mean speed over pictures predicted from earlier ones only, four a second; add frames in display order.

    Such a picture says of each of its blocks where it was in an earlier picture, which is taken to be the last one that
    was no B-picture, as encoders mostly have it. Blocks coded anew say nothing. A codec chooses what is cheap to code:
    plain areas, flicker and repeated patterns give vectors of their own.
    """

    def __init__(self) -> None:
        self._leaned_on: float | None = None
        self._due = -np.inf
        self._lengths = self._seconds = 0.0

    def add(self, frame: VideoFrame, time: float) -> None:
        """The next frame; only frames of H.264, MPEG-4 part 2 and earlier codecs hold vectors, decoded with `export_mvs`."""
        kind = int(frame.pict_type)
        if kind not in (_KEY, _PREDICTED):
            return
        before, self._leaned_on = self._leaned_on, time
        if kind == _KEY or before is None or time <= before or time < self._due:
            return
        vectors = frame.side_data.get("MOTION_VECTORS")
        if vectors is None:
            return
        self._due = time + _EVERY
        blocks = vectors.to_ndarray()
        area = blocks["w"].astype(np.float32) * blocks["h"]
        length = np.hypot(blocks["motion_x"], blocks["motion_y"]) / np.maximum(blocks["motion_scale"], 1)
        self._lengths += float(np.dot(area, length) / area.sum()) / frame.width
        self._seconds += time - before

    def mean(self) -> float | None:
        """Frame widths per second; None without vectors."""
        return self._lengths / self._seconds if self._seconds else None
