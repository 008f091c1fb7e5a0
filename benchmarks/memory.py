"""Memory over time of driver, workers and object store, while 20,000 pictures and a folder of two-hour videos are curated.

    python benchmarks/memory.py [--images 'DIR/image_text-*.parquet'] [--executor ray] [--workers 2] [--every 5]

Pictures (synthetic without --images) are repeated with fresh ids. The videos are made here: two hours of H.264 at 2 frames a second, a
minute of noise that repeats, some 400 MB each. Resident memory of every process below the driver is read from /proc; of the object store
what raylet has touched.
"""

import argparse
import fractions
import glob
import io
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
from executor_overhead import repeat_with_fresh_ids
from faults import workers_of

from curation.sources.synthetic import write_synthetic

RECIPE = """
from curation.filters import AspectRatio, BlackShare, Decodable, Duration, Frames, Motion, ShortSide, Words
from curation.select import ExactDedup
from curation.sources import ParquetSource, WebDatasetSource
from pipelines.recipe import Recipe, branch

def recipe(data):
    images = branch("images", ParquetSource(f"{data}/*.parquet", id="id"), AspectRatio(high=10.0), ShortSide(low=1), Words(low=0),
                    Decodable(), ExactDedup(by="content"))
    videos = branch("videos", WebDatasetSource(f"{data}/*.tar", id="id"), Duration(low=1.0), Frames(low=8), Motion(low=0.0), BlackShare(),
                    ExactDedup(by="content"))
    return Recipe(stage="stage1", branches=(images, videos))
"""
FPS = 2
SECONDS = 7190


def long_video(path: Path) -> None:
    """One minute of noise, encoded once and repeated packet by packet."""
    noise = np.random.default_rng(0)
    minute = io.BytesIO()
    with av.open(minute, "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=FPS, options={"preset": "ultrafast", "crf": "33", "bf": "0", "g": "60"}
        )
        stream.width, stream.height = 320, 180
        for _ in range(60 * FPS):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 256, (180, 320, 3), dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    minute.seek(0)
    with av.open(minute, "r") as source, av.open(str(path), "w", format="mp4") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [p for p in source.demux(stream) if p.dts is not None]
        base, data = (
            packets[0].time_base or fractions.Fraction(1, 1000),
            [(bytes(p), p.pts, p.is_keyframe) for p in packets],
        )
        ticks = round(60 / base)
        for number in range(SECONDS // 60):
            for content, pts, key in data:
                packet = av.Packet(content)
                packet.pts = packet.dts = (pts or 0) + number * ticks
                packet.time_base, packet.stream, packet.is_keyframe = base, copy, key
                target.mux(packet)


def make_data(images: list[str], data: Path, *, count: int, videos: int) -> None:
    """Parquet files of pictures and tars of one video each."""
    data.mkdir()
    rows = sum(pq.read_metadata(file).num_rows for file in images)
    repeat_with_fresh_ids(images, data, copies=-(-count // rows))
    video = data.parent / "video.mp4"
    long_video(video)
    print(f"videos of {video.stat().st_size / 1e6:.0f} MB", flush=True)
    for number in range(videos):
        with tarfile.open(data / f"videos-{number:03d}.tar", "w") as tar:
            tar.add(video, f"clip{number}.mp4")
            text = f"two hours of noise, number {number}".encode()
            member = tarfile.TarInfo(f"clip{number}.txt")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))


def resident(process: int, field: str = "VmRSS") -> int:
    """Bytes of memory of a process, by a field of its status; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def object_store(driver: int) -> int:
    """Shared memory that a raylet below this process has touched."""
    return max((resident(raylet, "RssShmem") for raylet in workers_of(driver, "raylet")), default=0)


def main() -> None:
    """Run, and print a row every few seconds."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", nargs="*", default=[])
    options.add_argument("--executor", choices=("local", "ray"), default="ray")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--count", type=int, default=20_000)
    options.add_argument("--videos", type=int, default=3)
    options.add_argument("--every", type=float, default=5.0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        root = Path(folder)
        files = [file for pattern in given.images for file in sorted(glob.glob(pattern))]
        if not files:
            write_synthetic(str(root / "synthetic"), samples=2000, seed=0, defects=0.0)
            files = [str(path) for path in sorted((root / "synthetic").glob("image_text-*.parquet"))]
        make_data(files, root / "data", count=given.count, videos=given.videos)
        (root / "recipe.py").write_text(RECIPE)
        where = ["--data", str(root / "data"), "--out", str(root / "out"), "--executor", given.executor]
        command = [sys.executable, "-m", "pipelines", "run", f"{root}/recipe.py:recipe", *where]
        start = time.monotonic()
        process = subprocess.Popen([*command, "--workers", str(given.workers), "--quiet"], start_new_session=True)
        print("seconds  driver MB  largest worker MB  all workers MB  object store MB", flush=True)
        shown, worst = 0.0, [0, 0, 0, 0]
        while process.poll() is None:
            each = [resident(worker) for worker in workers_of(process.pid)]
            now = [resident(process.pid), max(each, default=0), sum(each), object_store(process.pid)]
            worst = [max(pair) for pair in zip(worst, now, strict=True)]
            if time.monotonic() - shown > given.every:
                shown = time.monotonic()
                print(f"{shown - start:7.0f}  " + "  ".join(f"{value / 1e6:9,.0f}" for value in now), flush=True)
            time.sleep(0.25)
        print("   peak  " + "  ".join(f"{value / 1e6:9,.0f}" for value in worst))
        if process.returncode:
            raise SystemExit(process.returncode)


if __name__ == "__main__":
    main()
