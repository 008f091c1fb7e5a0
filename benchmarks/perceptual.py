"""Perceptual dedup on real pictures: recall per transform, and every group found among the originals as a contact sheet.

    python benchmarks/perceptual.py --images 'DIR/image_text-*.parquet' 'DIR/documents-*.parquet' [--videos 'DIR/*.tar'] --out DIR

Each photograph is altered in memory and put beside all originals; recall is the share of altered copies that PerceptualDedup
drops for, or keeps in place of, their original. Any other pair is printed, and the groups among the originals are drawn.
"""

import argparse
import glob
import io
import json
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pyarrow.parquet as pq
from PIL import Image

from curation.media.decode import decode_image
from curation.sample import SampleError
from curation.select.perceptual import PerceptualDedup
from curation.select.views import clip_views, fine_views, picture_views

Transform = Callable[[np.ndarray], np.ndarray]


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.array(Image.open(stream))


def resized(pixels: np.ndarray, share: float) -> np.ndarray:
    size = (max(1, round(pixels.shape[1] * share)), max(1, round(pixels.shape[0] * share)))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def cropped(pixels: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """A rectangle of 1 - share of each side, anywhere."""
    rows, columns = (int(side * share) for side in pixels.shape[:2])
    top, left = random.integers(0, rows + 1), random.integers(0, columns + 1)
    return pixels[top : pixels.shape[0] - rows + top, left : pixels.shape[1] - columns + left]


def bordered(pixels: np.ndarray, share: float, grey: int) -> np.ndarray:
    width = max(1, int(share * max(pixels.shape[:2])))
    return cv2.copyMakeBorder(pixels, width, width, width, width, cv2.BORDER_CONSTANT, value=(grey,) * 3)


def transforms(seed: int = 0) -> dict[str, Transform]:
    """What copies found in the wild have gone through; every one is re-encoded afterwards (JPEG 85)."""
    random = np.random.default_rng(seed)
    plain: dict[str, Transform] = {
        "re-encoded, JPEG 50": lambda p: jpeg(p, 50),
        "re-encoded, JPEG 20": lambda p: jpeg(p, 20),
        "resized to 50 %": lambda p: resized(p, 0.5),
        "resized to 25 %": lambda p: resized(p, 0.25),
        "stretched by 10 %": lambda p: np.array(Image.fromarray(p).resize((int(p.shape[1] * 1.1), p.shape[0]))),
        "cropped by 2 %": lambda p: cropped(p, 0.02, random),
        "cropped by 5 %": lambda p: cropped(p, 0.05, random),
        "cropped by 8 %": lambda p: cropped(p, 0.08, random),
        "brightened by 30 %": lambda p: np.clip(p * 1.3, 0, 255).astype(np.uint8),
        "darkened by 30 %": lambda p: (p * 0.7).astype(np.uint8),
        "black border, 3 %": lambda p: bordered(p, 0.03, 0),
        "white border, 8 %": lambda p: bordered(p, 0.08, 255),
        "mirrored": lambda p: np.ascontiguousarray(p[:, ::-1]),
        "mirrored, cropped by 3 %": lambda p: np.ascontiguousarray(cropped(p, 0.03, random)[:, ::-1]),
    }
    return {name: lambda p, change=change: jpeg(change(p), 85) for name, change in plain.items()}


def load(patterns: list[str]) -> list[tuple[str, str, np.ndarray]]:
    """(id, kind, pixels) of every picture that decodes, at most 640 on the long side."""
    loaded = []
    for file in sorted(name for pattern in patterns for name in glob.glob(pattern)):
        for row in pq.read_table(file, columns=["id", "image", "kind"]).to_pylist():
            try:
                pixels = decode_image(row["image"])
            except SampleError:
                continue
            share = min(1.0, 640 / max(pixels.shape[:2]))
            if share < 1:
                size = [max(1, round(side * share)) for side in pixels.shape[1::-1]]
                pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            loaded.append((row["id"], row["kind"], pixels))
    return loaded


def table_of(pictures: list[tuple[str, np.ndarray]]) -> pl.DataFrame:
    """The table that `choose` gets: one sample per picture."""
    views = [picture_views(pixels) for _, pixels in pictures]
    return pl.DataFrame({
        "id": [name for name, _ in pictures], "media": pl.Series([1] * len(views), dtype=pl.UInt16),
        "views": [view.tobytes() for view in views], "stills": pl.Series([b""] * len(views), dtype=pl.Binary),
        "size": [float(pixels.shape[0] * pixels.shape[1]) for _, pixels in pictures],
        "graphics": [fine_views(pixels, view) or None for (_, pixels), view in zip(pictures, views, strict=True)],
    })  # fmt: skip


def clips_table(patterns: list[str]) -> pl.DataFrame:
    """One sample per clip of some tars."""
    rows = []
    for file in sorted(name for pattern in patterns for name in glob.glob(pattern)):
        with tarfile.open(file) as tar:
            for member in tar:
                if member.isfile() and Path(member.name).suffix in (".mp4", ".mkv", ".avi", ".webm"):
                    view, stills = clip_views(tar.extractfile(member).read())  # pyright: ignore[reportOptionalMemberAccess]
                    rows.append((member.name, 1, view.tobytes(), stills.tobytes(), float(len(stills)), None))
    schema = {
        "id": pl.String,
        "media": pl.UInt16,
        "views": pl.Binary,
        "stills": pl.Binary,
        "size": pl.Float64,
        "graphics": pl.Binary,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def recall(
    dedup: PerceptualDedup, pictures: list[tuple[str, np.ndarray]], change: Transform
) -> tuple[float, list[Any]]:
    """Share of altered copies found, and pairs of a copy with another picture than its own."""
    copies = [(f"{name}~", change(pixels)) for name, pixels in pictures]
    dropped = dedup.choose(pl.concat([table_of(pictures), table_of(copies)]))
    pairs = list(dropped.drop("similarity").iter_rows())
    own = {frozenset((a.rstrip("~"), b.rstrip("~"))) for a, b in pairs}
    return sum(frozenset((name,)) in own for name, _ in pictures) / len(pictures), [
        p for p in pairs if p[0].rstrip("~") != p[1].rstrip("~")
    ]


def contact_sheet(dropped: pl.DataFrame, pixels: dict[str, np.ndarray], path: Path) -> None:
    """Each dropped picture beside its survivor."""
    cells = []
    for pair in dropped.drop("similarity").iter_rows():
        cell = np.full((150, 330, 3), 255, np.uint8)
        for at, name in enumerate(pair):
            picture = pixels[name]
            share = min(155 / picture.shape[1], 125 / picture.shape[0])
            size = [max(1, int(side * share)) for side in picture.shape[1::-1]]
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            cell[22 : 22 + small.shape[0], 5 + 162 * at : 5 + 162 * at + small.shape[1]] = small
            cv2.putText(cell, str(name)[-18:], (3 + 162 * at, 15), 0, 0.4, (200, 0, 0), 1)
        cells.append(cell)
    cells += [np.full((150, 330, 3), 255, np.uint8)] * (-len(cells) % 5)
    for page in range(0, len(cells), 40):
        part = cells[page : page + 40]
        sheet = np.vstack([np.hstack(part[i : i + 5]) for i in range(0, len(part), 5)])
        cv2.imwrite(str(path.with_name(f"{path.stem}_{page // 40}.png")), sheet[:, :, ::-1])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", required=True)
    parser.add_argument("--videos", nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="take every n-th photograph")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    loaded = load(options.images)
    dedup = PerceptualDedup()
    start = time.process_time()
    table = table_of([(name, pixels) for name, _, pixels in loaded])
    signed, start = time.process_time() - start, time.process_time()
    dropped = dedup.choose(table)
    chosen = time.process_time() - start
    kinds = {name: kind for name, kind, _ in loaded}
    counts = {kind: sum(kinds[name] == kind for name in dropped["id"]) for kind in sorted(set(kinds.values()))}
    print(
        f"{len(loaded):,} pictures: dropped {counts}; {len(loaded) / signed:,.0f} signatures/s, choose {chosen:.1f} CPU s"
    )
    contact_sheet(dropped, {name: pixels for name, _, pixels in loaded}, options.out / "groups.png")
    photos = [(name, pixels) for name, kind, pixels in loaded if kind == "photo"][:: options.every]
    figures = {}
    for name, change in transforms().items():
        found, others = recall(dedup, photos, change)
        figures[name] = round(found, 4)
        print(f"{name:28} recall {found:.4f}  with another photograph {len(others)} {others[:3]}", flush=True)
    (options.out / "recall.json").write_text(json.dumps(figures, indent=2))
    if options.videos:
        print(dedup.choose(clips_table(options.videos)).rows())


if __name__ == "__main__":
    main()
