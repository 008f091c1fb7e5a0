"""Look: what a clip shows, gathered frame by frame from small luma pictures while it is decoded for other reasons.

Shapes: F frames, H rows, W columns; luma uint8.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from av.video.frame import VideoFrame

from curation.media.decode import reduction
from curation.media.shots import find_transitions, shots_between
from curation.media.textlike import text_share
from curation.media.vectors import VectorSpeed
from model.geometry import Medium, plan_grids
from model.stages import STAGE_RULES

# Pixels of the small pictures, long side first: of those compared, and of those kept for shots.
_COMPARED, _KEPT = (64, 36), (32, 18)
# Seconds between frames that are measured for motion, for pruning (as many per second as training takes), for text.
_MOTION_EVERY, _PRUNE_EVERY, _TEXT_EVERY = 0.25, 1.0, 3.0
# Of long clips, frames that are measured for motion and for text at most.
_MOTION_FRAMES, _TEXT_FRAMES = 60, 20
# A frame is static if it differs by less than this many levels on average from the one before; black if its luma is
# below this on average and nowhere much above.
_STATIC_LEVELS, _BLACK_LEVELS = 0.35, 20.0
_TEXT_SIDE = 224
# Seconds that a black or static stretch lasts at least to be listed.
_STRETCH = 0.5
_RULES = STAGE_RULES["stage3"]
_PIXELS_PER_TOKEN = 4  # a side, of the luma compared for pruning
_PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "yuva420p", "nv12", "nv21", "gray")
# Studio range (16 to 235) to full range.
_FULL_RANGE = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLook:
    """What a clip shows.

    shots: first and last time of each, in seconds; frames of dissolves and fades belong to none. static, black: shares
    of frames. black_stretches, frozen_stretches: first and last time of runs of black and of static frames that last half
    a second or more. frozen: seconds of the longest run of static frames. motion: mean speed of the picture's content in
    frame widths per second by optical flow, vectors: by the codec's motion vectors (None where it has none). text: mean share
    of the area that looks like text. tokens: visual tokens that the clip takes in training, kept: those of them that
    pruning is expected to leave.
    """

    shots: tuple[tuple[float, float], ...]
    black_stretches: tuple[tuple[float, float], ...]
    frozen_stretches: tuple[tuple[float, float], ...]
    static: float
    black: float
    frozen: float
    motion: float
    vectors: float | None
    text: float
    tokens: int
    kept: int


class Watcher:
    """Collects while frames pass in display order; `skipped` ones are known by their time only."""

    def __init__(self, *, width: int, height: int, duration: float) -> None:
        wide = width >= height
        self._compared, self._small = (_COMPARED, _KEPT) if wide else (_COMPARED[::-1], _KEPT[::-1])
        self._thumbs = bytearray()
        self._times: list[float] = []
        self._skipped: list[float] = []
        self._changes: list[float] = []
        self._black: list[bool] = []
        self._vectors = VectorSpeed()
        self._before: np.ndarray | None = None
        self._motion = _Every(max(_MOTION_EVERY, duration / _MOTION_FRAMES))
        self._text = _Every(max(_TEXT_EVERY, duration / _TEXT_FRAMES))
        self._prune = _Pruned(width=width, height=height, duration=duration)

    def skip(self, time: float) -> None:
        """A frame that is not decoded."""
        self._skipped.append(time)

    def add(self, frame: VideoFrame, time: float) -> None:
        """The next decoded frame."""
        luma, full = luma_of(frame)
        rows = max(1, luma.shape[0] // (4 * self._compared[1]))
        picture = cv2.resize(luma[::rows], self._compared, interpolation=cv2.INTER_AREA)
        if not full:
            picture = cv2.LUT(picture, _FULL_RANGE)
        self._thumbs += cv2.resize(picture, self._small, interpolation=cv2.INTER_AREA).tobytes()
        mean = cv2.sumElems(picture)[0] / picture.size
        self._black.append(mean < _BLACK_LEVELS and int(picture.max()) < 3 * _BLACK_LEVELS)
        self._vectors.add(frame, time)
        if self._before is not None:
            self._changes.append(cv2.norm(picture, self._before, cv2.NORM_L1) / picture.size)
            if (passed := time - self._times[-1]) > 0 and self._motion.due(time):
                self._motion.values.append(_speed(self._before, picture) / passed)
        if self._text.due(time):
            self._text.values.append(_text(luma))
        self._prune.add(luma, time, scale=1.0 if full else 255 / 219)
        self._before = picture
        self._times.append(time)

    def look(self) -> VideoLook:
        """All of it, once the last frame has passed."""
        times, thumbs = self._every_frame()
        transitions = find_transitions(thumbs)
        shots = shots_between(transitions, len(times))
        static = np.array(self._changes) < _STATIC_LEVELS
        seen = np.array(self._times)
        # A static run begins with the frame that its first one equals.
        still = [(float(seen[first]), float(seen[end])) for first, end in _runs(static)]
        dark = [(float(seen[first]), float(seen[end - 1])) for first, end in _runs(np.array(self._black))]
        return VideoLook(
            shots=tuple((float(times[first]), float(times[last])) for first, last in shots),
            black_stretches=tuple((first, last) for first, last in dark if last - first >= _STRETCH),
            frozen_stretches=tuple((first, last) for first, last in still if last - first >= _STRETCH),
            static=float(static.mean()) if static.size else 1.0,
            black=sum(self._black) / len(seen),
            frozen=max((last - first for first, last in still), default=0.0),
            motion=self._motion.mean(),
            vectors=self._vectors.mean(),
            text=self._text.mean(),
            tokens=self._prune.tokens,
            kept=self._prune.kept,
        )

    def _every_frame(self) -> tuple[np.ndarray, np.ndarray]:
        """Times and small pictures of all frames in display order; a skipped one shows what was before it."""
        seen = np.array(self._times)
        columns, rows = self._small
        thumbs = np.frombuffer(self._thumbs, np.uint8).reshape(len(seen), rows, columns)
        if not self._skipped:
            return seen, thumbs
        times = np.sort(np.concatenate([seen, self._skipped]))
        return times, thumbs[np.maximum(0, np.searchsorted(seen, times, side="right") - 1)]


class _Every:
    """Values taken at most once per `step` seconds."""

    def __init__(self, step: float) -> None:
        self.step = step
        self.values: list[float] = []
        self._next = -np.inf

    def due(self, time: float) -> bool:
        if time < self._next:
            return False
        self._next = max(time, self._next + self.step) if np.isfinite(self._next) else time + self.step
        return True

    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else 0.0


class _Pruned:
    """Visual tokens of a clip before pruning, and an estimate of those after it.

    A token is expected to stay if the luma of its place, at 4 x 4 pixels, changed by more than the threshold since the
    frame a second before; training compares all colours at 28 x 28.
    """

    def __init__(self, *, width: int, height: int, duration: float) -> None:
        frames = max(1, min(_RULES.max_frames, int(duration * _RULES.fps)))
        (grid,) = plan_grids([Medium("video", height, width, frames)], _RULES)
        self._cells = (grid.columns // _RULES.video_merge, grid.rows // _RULES.video_merge)
        self._every = _Every(max(_PRUNE_EVERY, duration / frames))
        self._before: np.ndarray | None = None
        self.tokens = self.kept = 0

    def add(self, luma: np.ndarray, time: float, *, scale: float) -> None:
        if not self._every.due(time):
            return
        columns, rows = self._cells
        size = (columns * _PIXELS_PER_TOKEN, rows * _PIXELS_PER_TOKEN)
        small = cv2.resize(_halved(luma, size), size, interpolation=cv2.INTER_AREA)
        kept = rows * columns
        self.tokens += kept
        if self._before is not None:
            change = cv2.resize(
                cv2.absdiff(small, self._before).astype(np.float32), self._cells, interpolation=cv2.INTER_AREA
            )
            kept = int(np.count_nonzero(2 * scale * change > _RULES.threshold))  # its unit is half a level
        self.kept += max(kept, _RULES.min_prune_tokens)
        self._before = small


def luma_of(frame: VideoFrame) -> tuple[np.ndarray, bool]:
    """Luma of a frame [H, W], and whether it is full range (0 to 255). A view into the frame where its format allows."""
    if frame.format.name not in _PLANAR:
        return frame.reformat(format="gray").to_ndarray(), True
    plane = frame.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint8)[: plane.line_size * frame.height]
    full = frame.format.name.startswith(("yuvj", "gray")) or frame.color_range == 2  # AVCOL_RANGE_JPEG
    return luma.reshape(frame.height, plane.line_size)[:, : frame.width], full


def _speed(before: np.ndarray, after: np.ndarray) -> float:
    """Mean length of the optical flow between two small pictures, in widths of the picture."""
    flow = cv2.calcOpticalFlowFarneback(before, after, np.empty(0), 0.5, 2, 9, 2, 5, 1.1, 0)
    return float(cv2.magnitude(flow[..., 0], flow[..., 1]).mean()) / before.shape[1]


def _halved(luma: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Luma at half its sides while that leaves more than `size`: whole factors are four times as fast, and the rest has less to do."""
    rows, columns = luma.shape
    while columns % 2 == rows % 2 == 0 and columns // 2 >= size[0] and rows // 2 >= size[1]:
        luma, rows, columns = (
            cv2.resize(luma, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA),
            rows // 2,
            columns // 2,
        )
    return luma


def _text(luma: np.ndarray) -> float:
    rows, columns = luma.shape
    factor = reduction(columns, rows, _TEXT_SIDE)
    size = (-(-columns // factor), -(-rows // factor))
    return text_share(luma if factor == 1 else cv2.resize(luma, size, interpolation=cv2.INTER_AREA))


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Begin and end (not included) of each run of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
