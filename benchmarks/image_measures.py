"""Image measures beside a Pillow pass: pictures per second and core, all measures of appearance, and header-only ones.

    python benchmarks/image_measures.py --images 'DIR/image_text-*.parquet'

Pictures are brought to 640 x 480 JPEGs first. Ours runs the filters themselves over batches. The peer computes the same
numbers with Pillow: `draft` decodes at the same reduced size (its fastest way, and the numbers must agree), `full` at full
size, as most pipelines do. Rounds are taken in turn; speeds are medians of CPU time, one thread.
"""

import argparse
import glob
import io
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import cv2
import numpy as np
import polars as pl
from PIL import Image, ImageChops, ImageFilter, ImageStat

from curation.batch import Batch
from curation.filters.appearance import (
    Blank,
    Borders,
    Brightness,
    Contrast,
    Entropy,
    Grayscale,
    Saturation,
    Sharpness,
    TextArea,
)  # fmt: skip
from curation.filters.image import AspectRatio, BytesPerPixel, Decodable, Pixels, ShortSide
from curation.media.appearance import BORDER_LEVELS, GREY_LEVELS, SHORT_SIDE, Appearance
from curation.media.probe import probe_media
from curation.operator import Filter
from curation.sample import Media, Origin, Sample, caption_turns, make_sample
from curation.sources.synthetic.scenes import draw_scene, make_scene
from pipelines.work import keep_memory

APPEARANCE = (Brightness(), Contrast(), Entropy(), Sharpness(), Saturation(), Grayscale(), Blank(), Borders())
HEADER = (AspectRatio(), ShortSide(), Pixels(), BytesPerPixel())
LAPLACIAN = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)


def photos(pattern: str, count: int) -> Iterator[Image.Image]:
    """Photographs of Parquet files, or synthetic scenes where there are none."""
    if not pattern:
        import random

        for seed in range(count):
            rng = random.Random(seed)
            yield draw_scene(make_scene(rng))
        return
    import pyarrow.parquet as pq

    for path in sorted(glob.glob(pattern)):
        for data in pq.read_table(path, columns=["image"])["image"].to_pylist():
            if data[:2] == b"\xff\xd8":
                with Image.open(io.BytesIO(data)) as image:
                    yield image.convert("RGB")


def jpegs(pattern: str, count: int) -> list[bytes]:
    encoded = []
    for image in itertools.islice(photos(pattern, count), count):
        buffer = io.BytesIO()
        image.resize((640, 480), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
        encoded.append(buffer.getvalue())
    return encoded


def samples_of(encoded: list[bytes]) -> list[Sample]:
    origin = Origin(source="benchmark", locator="", name="")
    return [
        make_sample(
            replace(origin, locator=str(number)), caption_turns("x"), [probe_media(Media(kind="image", data=data))]
        )
        for number, data in enumerate(encoded)
    ]


def ours(samples: list[Sample], operators: tuple[Filter, ...], size: int = 64) -> list[list[pl.Series]]:
    """The operators over batches, as a pass runs them: a column per operator and batch. Pictures are decoded at the size of APPEARANCE."""
    batches = [Batch(samples[at : at + size], short_sides=[SHORT_SIDE]) for at in range(0, len(samples), size)]
    return [[pl.Series(operator.open()(batch)) for operator in operators] for batch in batches]


def pillow(data: bytes, *, draft: bool) -> Appearance:
    """The same numbers by Pillow (its kernels are in C) and numpy for the lines of the borders."""
    with Image.open(io.BytesIO(data)) as image:
        if draft:
            image.draft("RGB", (320, 240))
        image.load()
        luma = image.convert("L")
        red, green, blue = image.split()
        value = ImageChops.lighter(ImageChops.lighter(red, green), blue)
        chroma = ImageChops.subtract(value, ImageChops.darker(ImageChops.darker(red, green), blue))
    counts = np.array(luma.histogram(), np.float64)
    statistic = ImageStat.Stat(luma)
    edges = ImageStat.Stat(luma.filter(LAPLACIAN))  # clips at 128 levels either way: sharp pictures read low
    levels = chroma.histogram()
    windows = np.convolve(counts, np.ones(5), "valid")
    return Appearance(
        brightness=statistic.mean[0] / 255, contrast=statistic.stddev[0] / 255, entropy=luma.entropy(), sharpness=edges.var[0],
        saturation=ImageStat.Stat(chroma).mean[0] / ImageStat.Stat(value).mean[0],
        grayscale=sum(levels[: GREY_LEVELS + 1]) / counts.sum(), blank=windows.max() / counts.sum(),
        borders=pillow_borders(luma),
    )  # fmt: skip


def pillow_borders(luma: Image.Image) -> float:
    array = np.asarray(luma).astype(int)
    rows = np.flatnonzero(np.ptp(array, axis=1) > BORDER_LEVELS)
    if not rows.size:
        return 1.0
    inner = array[rows[0] : rows[-1] + 1]
    columns = np.flatnonzero(np.ptp(inner, axis=0) > BORDER_LEVELS)
    across = columns[-1] - columns[0] + 1 if columns.size else 0
    return 1 - len(inner) * across / array.size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", default="", help="glob of Parquet files with a column `image`; synthetic scenes without"
    )
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    keep_memory()
    encoded = jpegs(options.images, options.count)
    samples = samples_of(encoded)
    copies = [replace(sample, id=f"{number:032x}") for number, sample in enumerate(samples * 20)]
    media = [Media(kind="image", data=data) for data in encoded] * 20
    runs: dict[str, tuple[int, Callable[[], object]]] = {
        "ours: appearance and header measures": (
            len(samples),
            lambda: ours(samples, (*HEADER, Decodable(), *APPEARANCE)),
        ),
        "ours: the same and TextArea": (len(samples), lambda: ours(samples, (*HEADER, *APPEARANCE, TextArea()))),
        "ours: decode at the same size only": (len(samples), lambda: ours(samples, (Decodable(),))),
        "Pillow, reduced by draft": (len(samples), lambda: [pillow(data, draft=True) for data in encoded]),
        "Pillow, full size": (len(samples), lambda: [pillow(data, draft=False) for data in encoded]),
        "header: format, size, orientation from bytes": (len(media), lambda: [probe_media(medium) for medium in media]),
        "header: the four measures in columns": (len(copies), lambda: ours(copies, HEADER, 256)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _, run in runs.values():
        run()  # the first round loads and compiles
    for _ in range(options.rounds):
        for name, (_, run) in runs.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    speeds = {name: count / statistics.median(seconds[name]) for name, (count, _) in runs.items()}
    for name, speed in speeds.items():
        spread = max(seconds[name]) / min(seconds[name])
        print(f"{name:48s} {speed:12,.0f} /s/core   spread {spread:.2f}")
    both = 1 / sum(1 / speed for name, speed in speeds.items() if name.startswith("header: "))
    print(f"{'header: from bytes to the four measures':48s} {both:12,.0f} /s/core")
    compare(samples, encoded, speeds)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(speeds, file, indent=1)


def compare(samples: list[Sample], encoded: list[bytes], speeds: dict[str, float]) -> None:
    mine = speeds["ours: appearance and header measures"]
    print(f"{'ours / Pillow, reduced by draft':48s} {mine / speeds['Pillow, reduced by draft']:12.2f}")
    print(f"{'ours / Pillow, full size':48s} {mine / speeds['Pillow, full size']:12.2f}")
    values = np.concatenate([np.array(columns) for columns in ours(samples, APPEARANCE)], axis=1)
    theirs = np.array([pillow(data, draft=True) for data in encoded])
    for row, field in zip(
        values,
        ("brightness", "contrast", "entropy", "sharpness", "saturation", "grayscale", "blank", "borders"),
        strict=True,
    ):
        reference = theirs[:, Appearance._fields.index(field)]
        print(
            f"   {field:12s} median difference from Pillow (draft) {np.median(np.abs(row - reference)):.4g} of {np.median(row):.4g}"
        )
    assert SHORT_SIDE == 224, "draft is asked for 320 x 240, which is the size at 224"


if __name__ == "__main__":
    main()
