"""How busy a GPU is kept while pictures are read, decoded and resized beside it: one that sleeps stands for it.

    python benchmarks/decode_ahead.py [--images 'DIR/image_text-*.parquet'] [--count 2000] [--milliseconds 2 4 8]

Whole runs by the local executor. An encoder of the usual kind prepares pictures on one thread and infers on another; its inference
takes the only GPU (a file lock) and sleeps so many milliseconds per picture. Busy: the share of the time between the first and the
last inference in which somebody infers. Two workers share the GPU as with `gpu(0.5)`.
"""

import argparse
import fcntl
import glob
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
from executor_overhead import repeat_with_fresh_ids

from curation.batch import Batch
from curation.filters import Decodable
from curation.neural import EncoderSpec, media_embeddings
from curation.neural.encoder import Encoder
from curation.operator import Filter, PartLimits
from curation.sources import ParquetSource
from curation.sources.synthetic import write_synthetic
from pipelines.plan import make_plan
from pipelines.recipe import Recipe, branch, gpu, on
from pipelines.run import run

SIDE = 224


@dataclass(frozen=True, kw_only=True)
class Sleeping(EncoderSpec):
    """An encoder that waits instead of computing. gpu: the file that only one inference holds, and that lists them all."""

    gpu: str
    seconds: float

    def load(self) -> Encoder:
        """One per process."""
        return _load(self)


@lru_cache
def _load(spec: Sleeping) -> Encoder:
    return Encoder(SleepingTower(spec), batch=spec.batch)


class SleepingTower:
    """Resizes pictures as a real one; infers by sleeping."""

    def __init__(self, spec: Sleeping) -> None:
        self._spec = spec

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        """To a square of floats."""
        square = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        return square.transpose(2, 0, 1).astype(np.float32) / 255

    def encode_images(self, prepared: np.ndarray) -> np.ndarray:
        """The colours, after a while."""
        with open(self._spec.gpu, "a") as gpu:
            fcntl.flock(gpu, fcntl.LOCK_EX)
            begin = time.time()
            time.sleep(self._spec.seconds * len(prepared))
            gpu.write(f"{begin} {time.time()}\n")
        return prepared.mean(axis=(2, 3))

    def tokenize(self, texts: Sequence[str]) -> tuple[Any, list[int]]:
        """Not asked for."""
        raise NotImplementedError

    def encode_texts(self, tokens: Any) -> np.ndarray:
        """Not asked for."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Looked(Filter):
    """Any number of an embedding."""

    encoder: EncoderSpec

    def measure(self, batch: Batch) -> pl.Series:
        """One per sample."""
        return pl.Series("value", media_embeddings(batch, self.encoder)[:, 0].astype(np.float64))


def busy(gpu: Path) -> tuple[float, float]:
    """Share of the time in which the GPU was held, and that time."""
    spans = [tuple(map(float, line.split())) for line in gpu.read_text().splitlines()]
    whole = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return sum(end - begin for begin, end in spans) / whole, whole


def main() -> None:
    """A line per speed of the GPU and number of workers."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", nargs="*", default=[])
    options.add_argument("--count", type=int, default=2000)
    options.add_argument("--part-rows", type=int, default=1000)
    options.add_argument("--milliseconds", type=float, nargs="*", default=[2, 4, 8])
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = [file for pattern in given.images for file in sorted(glob.glob(pattern))]
        if not files:
            write_synthetic(str(root / "synthetic"), samples=2000, seed=0, defects=0.0)
            files = [str(path) for path in sorted((root / "synthetic").glob("image_text-*.parquet"))]
        (root / "data").mkdir()
        repeat_with_fresh_ids(files, root / "data", copies=1)
        for milliseconds in given.milliseconds:
            for workers in (1, 2):
                out, held = root / f"out-{milliseconds}-{workers}", root / f"gpu-{milliseconds}-{workers}"
                encoder = Sleeping(model="sleeping", gpu=str(held), seconds=milliseconds / 1000)
                source = ParquetSource(f"{root}/data/*.parquet", id="id")
                recipe = Recipe(
                    stage="stage1",
                    branches=(branch("images", source, Decodable(), on(gpu(1 / workers), Looked(encoder=encoder))),),
                )
                plan = make_plan(recipe, out, limits=PartLimits(rows=given.part_rows), limit=given.count)
                run(plan, workers=workers, recipe_file=__file__, quiet=True)
                share, whole = busy(held)
                print(
                    f"{milliseconds:g} ms a picture, {workers} worker(s): {whole:.1f} s, busy {100 * share:.1f} %",
                    flush=True,
                )


if __name__ == "__main__":
    main()
