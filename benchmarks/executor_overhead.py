"""What curation costs beyond the work itself: our run on Ray beside a bare two-process pool, same images, same decoder, one run.

    python benchmarks/executor_overhead.py --images DIR/image_text-*.parquet [--seconds 60] [--rounds 3] [--same-size]

The pool reads the same Parquet rows, decodes and measures every picture with the same functions (geometry, words, full decode, content
digest, token counts), and writes the same encoded bytes into tars with Python's tarfile. It keeps no ledger, no scores and no checksums
of what it wrote, decides nothing over all samples, mixes nothing and cannot resume. It decodes every picture whole; our filter, whose
pixels nobody looks at here, has the decoder make them at an eighth of the size, which reads every bit of the file all the same and is a
part of the comparison that is not the executor's: with --same-size the pool does it too. Without --images, synthetic pictures are used.
The start of Ray and of either pool's workers is not counted; it is the same for any job. Ours ends with the manifest, which makes it a
dataset; the report that a run writes after it is timed apart.
"""

import argparse
import glob
import io
import json
import logging
import multiprocessing
import shutil
import statistics
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from blake3 import blake3

from curation.filters import AspectRatio, Decodable, ShortSide, Words
from curation.media.decode import decode_image
from curation.media.formats import require_format
from curation.media.headers import read_header
from curation.operator import PartLimits
from curation.sample import SampleError, caption_turns
from curation.select import ExactDedup
from curation.sources import ParquetSource
from curation.sources.synthetic import write_synthetic
from curation.tokens import load_tokenizer
from model.chat import Visual, count_tokens, split_turns
from model.geometry import Medium, plan_grids
from model.stages import STAGE_RULES
from pipelines.local import ONE_THREAD, environment
from pipelines.plan import make_plan
from pipelines.recipe import Recipe, branch
from pipelines.run import run

WORKERS = 2
RULES = STAGE_RULES["stage1"]


def recipe(data: str) -> Recipe:
    """Header measures, a full decode of every picture, exact dedup, shards."""
    images = branch(
        "images",
        ParquetSource(f"{data}/*.parquet", id="id"),
        AspectRatio(high=10.0),
        ShortSide(low=1),
        Words(low=0),
        Decodable(),
        ExactDedup(by="content"),
    )
    return Recipe(stage="stage1", branches=(images,))


def repeat_with_fresh_ids(files: list[str], folder: Path, *, copies: int) -> int:
    """Files of some 4,000 rows that repeat the given ones with other ids and captions, so nothing is a duplicate; returns the rows."""
    table = pa.concat_tables([pq.read_table(file, columns=["image", "text"]) for file in files])
    for copy in range(0, copies, 2):
        repeated = pa.concat_tables([table] * min(2, copies - copy))
        ids = [f"{copy}-{i}" for i in range(repeated.num_rows)]
        text = [f"{t or ''} ({i})" for t, i in zip(repeated["text"].to_pylist(), ids, strict=True)]
        fresh = pa.table({"id": ids, "image": repeated["image"], "text": text})
        pq.write_table(fresh, folder / f"{copy:03d}.parquet", row_group_size=100, compression="snappy")
    return table.num_rows * copies


def bare_part(task: tuple[str, int, str, int]) -> int:
    """Read, decode, measure and write one run of row groups: what any loop over the data would do."""
    file, group, out, short_side = task
    table = pq.ParquetFile(file).read_row_group(group, columns=["id", "image", "text"])
    written = 0
    with tarfile.open(out, "w") as tar:
        for row in table.to_pylist():
            measures = measure(row, short_side)
            if measures is None:
                continue
            for suffix, data in (
                (".jpg", row["image"]),
                (".json", json.dumps({"text": row["text"], **measures}).encode()),
            ):
                member = tarfile.TarInfo(row["id"] + suffix)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            written += 1
    return written


def measure(row: dict[str, Any], short_side: int) -> dict[str, Any] | None:
    """The numbers that the recipe takes of one picture; None where it does not decode."""
    try:
        pixels = decode_image(row["image"], short_side=short_side)
        high, wide = size_of(row["image"]) if short_side else pixels.shape[:2]
    except SampleError:
        return None
    (grid,) = plan_grids([Medium("image", high, wide)], RULES)
    turns = split_turns(caption_turns(row["text"]), ["image"])
    tokens = count_tokens(turns, [Visual(kind="image", tokens=(grid.tokens(RULES.image_merge),))], load_tokenizer(""))
    digest = blake3(row["image"]).hexdigest()
    return {
        "ratio": max(high, wide) / min(high, wide),
        "short": min(high, wide),
        "words": len(row["text"].split()),
        "tokens": tokens,
        "digest": digest,
    }


def size_of(data: bytes) -> tuple[int, int]:
    """Height and width of a picture that was not decoded whole."""
    header = read_header(data, require_format(data, "image"))
    return header.height, header.width


def bare(data: Path, out: Path, *, short_side: int = 0) -> float:
    """Seconds of the bare pool, its start-up not counted."""
    tasks = []
    for file in sorted(data.glob("*.parquet")):
        groups = pq.ParquetFile(file).num_row_groups
        tasks += [(str(file), g, str(out / f"{file.stem}-{g}.tar"), short_side) for g in range(groups)]
    with environment(ONE_THREAD), multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        pool.map(bare_part, tasks[:WORKERS], chunksize=1)
        start = time.perf_counter()
        written = sum(pool.imap_unordered(bare_part, tasks))
        seconds = time.perf_counter() - start
    print(f"  bare pool   {seconds:7.1f} s  {written:,} images", flush=True)
    return seconds


def ours(data: Path, out: Path, rows: int) -> tuple[float, float]:
    """Seconds of our run on Ray, up to the manifest and up to the end of the report."""
    start = time.perf_counter()
    plan = make_plan(recipe(str(data)), out, limits=PartLimits(rows=rows))
    result = run(plan, executor="ray", workers=WORKERS, quiet=True)
    end = time.perf_counter() - start
    whole = end - result.report_seconds
    samples = sum(s.samples for s in result.manifest.shards)
    print(f"  ours on Ray {whole:7.1f} s  {samples:,} samples; {end:.1f} s with the report", flush=True)
    return whole, end


def main() -> None:
    """Print both, and the ratio."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", nargs="*", default=[])
    options.add_argument("--seconds", type=float, default=60.0, help="aim at this much work")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--part-rows", type=int, default=512)
    options.add_argument(
        "--same-size", action="store_true", help="the pool decodes pictures as small as our filter does"
    )
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        root = Path(folder)
        files = [f for pattern in given.images for f in sorted(glob.glob(pattern))]
        if not files:
            write_synthetic(str(root / "synthetic"), samples=2000, seed=0, defects=0.0)
            files = [str(p) for p in sorted((root / "synthetic").glob("image_text-*.parquet"))]
        once = root / "once"
        once.mkdir()
        repeat_with_fresh_ids(files, once, copies=1)
        copies = max(1, round(given.seconds / bare(once, once)))
        data = root / "data"
        data.mkdir()
        print(f"{repeat_with_fresh_ids(files, data, copies=copies):,} images", flush=True)
        ratios = []
        with environment(ONE_THREAD):
            ray.init(
                address="local",
                num_cpus=WORKERS,
                include_dashboard=False,
                object_store_memory=128 << 20,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        # Workers started, modules imported, as the pool has them too.
        ours(once, root / "warm", given.part_rows)
        for turn in range(given.rounds):
            tars = root / f"bare{turn}"
            tars.mkdir()
            whole, end = ours(data, root / f"ours{turn}", given.part_rows)
            pool = bare(data, tars, short_side=1 if given.same_size else 0)
            ratios.append((whole / pool, end / pool))
            shutil.rmtree(tars)
            shutil.rmtree(root / f"ours{turn}")
        ray.shutdown()
        for name, values in zip(("", " with the report"), zip(*ratios, strict=True), strict=True):
            print(f"ours{name} / bare: median {statistics.median(values):.3f}, {', '.join(f'{r:.3f}' for r in values)}")


if __name__ == "__main__":
    main()
