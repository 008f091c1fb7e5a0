"""Video measures: clips per second and core, all measures of 30 s at 720p from one decode, beside a bare decode.

    python benchmarks/video_measures.py [--clips 'DIR/*.mp4']

Two clips are made where none are given: a pan over a noisy scene (as FFmpeg's test sources are), and shots with cuts, both
H.264 at 30 frames per second as encoders leave them by default. "bare decode" decodes every frame with PyAV on one thread and
looks at none. Rounds are taken in turn; speeds are medians of CPU time.
"""

import argparse
import glob
import io
import json
import statistics
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from curation.batch import Batch
from curation.filters.video import (
    Bitrate,
    BlackShare,
    Duration,
    FrameRate,
    Frames,
    Frozen,
    KeptTokens,
    Motion,
    Shots,
    SoundTracks,
    StaticShare,
    TextOverlay,
    VectorMotion,
    VideoTokens,
)
from curation.media.probe import probe_media
from curation.operator import Filter
from curation.sample import Media, Origin, caption_turns, make_sample
from pipelines.work import keep_memory

MEASURES: tuple[Filter, ...] = (
    Duration(), FrameRate(), Bitrate(), Frames(), StaticShare(), Frozen(), BlackShare(), Motion(), Shots(), TextOverlay(),
    KeptTokens(), VideoTokens(), SoundTracks(), VectorMotion(),
)  # fmt: skip
WIDTH, HEIGHT, RATE, SECONDS = 1280, 720, 30, 30


def made_clip(shot_frames: int, *, seed: int) -> bytes:
    """A camera over random scenes with some grain, a new scene every `shot_frames`."""
    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    grain = rng.integers(-3, 4, (8, HEIGHT, WIDTH, 1), dtype=np.int16)
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.options = {"preset": "veryfast", "threads": "1"}
        scene = np.empty(0)
        for number in range(RATE * SECONDS):
            at = number % shot_frames
            if at == 0:
                blocks = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
                scene = cv2.resize(blocks, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_CUBIC)
            x, y = 2 * at % WIDTH, at % HEIGHT
            pixels = scene[y : y + HEIGHT, x : x + WIDTH] + grain[number % 8]
            frame = av.VideoFrame.from_ndarray(np.clip(pixels, 0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return buffer.getvalue()


def bare_decode(data: bytes) -> int:
    with av.open(io.BytesIO(data)) as clip:
        clip.streams.video[0].thread_type = "NONE"
        clip.streams.video[0].codec_context.thread_count = 1
        return sum(1 for _ in clip.decode(video=0))


def measure_all(data: bytes) -> list[float]:
    medium = probe_media(Media(kind="video", data=data))
    origin = Origin(source="benchmark", locator="0", name="0")
    batch = Batch([make_sample(origin, caption_turns("x", ["video"]), [medium])])
    values = [next(iter(operator.open()(batch))) for operator in MEASURES]
    if batch.counters["media_decoded"] != 1:
        raise AssertionError("the measures share one decode")
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", default="", help="glob of clips to take instead")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    keep_memory()
    clips = (
        {Path(path).name: Path(path).read_bytes() for path in sorted(glob.glob(options.clips))} if options.clips else {}
    )
    clips = clips or {"pan": made_clip(10**9, seed=0), "shots of 3 s": made_clip(90, seed=1)}
    runs: dict[str, Callable[[bytes], object]] = {"all measures": measure_all, "bare decode": bare_decode}
    seconds: dict[tuple[str, str], list[float]] = {(clip, run): [] for clip in clips for run in runs}
    measure_all(next(iter(clips.values())))  # the first one loads and compiles
    for _ in range(options.rounds):
        for clip, data in clips.items():
            for name, run in runs.items():
                start = time.process_time()
                run(data)
                seconds[clip, name].append(time.process_time() - start)
    figures = {f"{clip}: {name}": 1 / statistics.median(taken) for (clip, name), taken in seconds.items()}
    for clip, data in clips.items():
        ours, bare = (figures[f"{clip}: {name}"] for name in runs)
        print(
            f"{clip:24s} {len(data) / 1e6:5.1f} MB   all measures {ours:5.2f} clips/s/core   bare decode {bare:5.2f}   x {ours / bare:.2f}"
        )
        print("   " + "  ".join(f"{o.name} {v:.3g}" for o, v in zip(MEASURES, measure_all(data), strict=True)))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
