"""What curation costs beyond the work itself: our run on Ray beside bare pools of as many processes, on the same images.

    python benchmarks/executor_overhead.py --images DIR/image_text-*.parquet [--seconds 60] [--rounds 3] [--workers 2]

The bare loop reads the same Parquet rows, decodes and measures every picture with the same functions (geometry, words, full decode,
content digest, token counts), and writes the same encoded bytes into tars with Python's tarfile. It keeps no ledger, no scores and no
checksums of what it wrote, decides nothing over all samples, mixes nothing and cannot resume. It decodes every picture whole; our filter,
whose pixels nobody looks at here, has the decoder make them at an eighth of the size, which reads every bit of the file all the same and
is a part of the comparison that is not the executor's: so the loop is timed once more with pictures made as small.

A second pool does the very tasks of our run, watched by nobody and without a driver's books: what we take longer than that is what Ray,
the driver and the watching cost.

Without --images, synthetic pictures are used. The start of Ray and of either pool's workers is not counted; it is the same for any job.
Ours ends with the manifest, which makes it a dataset; the report that a run writes after it is timed apart.
"""

import argparse
import glob
import io
import json
import logging
import multiprocessing
import os
import shutil
import statistics
import tarfile
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from blake3 import blake3
from faults import workers_of

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
from pipelines.schedule import Graph
from pipelines.work import Job, Task, Worker

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


def bare(data: Path, out: Path, workers: int, *, short_side: int = 0) -> float:
    """Seconds of the bare pool, its start-up not counted."""
    tasks = []
    for file in sorted(data.glob("*.parquet")):
        groups = pq.ParquetFile(file).num_row_groups
        tasks += [(str(file), g, str(out / f"{file.stem}-{g}.tar"), short_side) for g in range(groups)]
    with environment(ONE_THREAD), multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(bare_part, tasks[:workers], chunksize=1)
        start = time.perf_counter()
        written = sum(pool.imap_unordered(bare_part, tasks))
        seconds = time.perf_counter() - start
    print(f"  bare loop   {seconds:7.1f} s  {written:,} images{' made small' if short_side else ''}", flush=True)
    return seconds


def ours(data: Path, out: Path, rows: int, workers: int) -> tuple[float, float]:
    """Seconds of our run on Ray, up to the manifest and up to the end of the report."""
    start, before = time.perf_counter(), cpu_of_ray()
    own = time.process_time()
    plan = make_plan(recipe(str(data)), out, limits=PartLimits(rows=rows))
    result = run(plan, executor="ray", workers=workers, quiet=True)
    end = time.perf_counter() - start
    whole = end - result.report_seconds
    samples = sum(s.samples for s in result.manifest.shards)
    print(f"  ours on Ray {whole:7.1f} s  {samples:,} samples; {end:.1f} s with the report", flush=True)
    own, (working, rest) = (
        time.process_time() - own,
        (now - then for now, then in zip(cpu_of_ray(), before, strict=True)),
    )
    print(f"    CPU: workers {working:.1f} s, Ray's own {rest:.2f} s, driver {own:.2f} s with the report", flush=True)
    return whole, end


def cpu_of_ray() -> tuple[float, float]:
    """CPU seconds so far of the workers below this process, and of Ray's other processes."""
    working = set(workers_of(os.getpid()))
    seconds = {process: cpu_seconds(process) for process in {*working, *workers_of(os.getpid(), "ray")}}
    return sum(s for p, s in seconds.items() if p in working), sum(s for p, s in seconds.items() if p not in working)


def cpu_seconds(process: int) -> float:
    """User and system time of a process, 0 when it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


_worker: list[Worker] = []


def begin(job: Job) -> None:
    """In a process of the pool: what it takes to do tasks."""
    _worker[:] = [Worker(job)]


def do(task: Task) -> tuple[Task, dict[str, Any]]:
    """In a process of the pool: the task as a worker of ours does it, watched by nobody."""
    return task, _worker[0].do(task)


def same_work(data: Path, out: Path, rows: int, workers: int) -> float:
    """Seconds of a bare pool that does the very tasks of our run in their order, up to the last shard; its start-up not counted.

    No cursors and no watchdog, no recovery, no journal, no events, no accounts and no manifest: what an executor adds to its tasks.
    """
    plan = make_plan(recipe(str(data)), out, limits=PartLimits(rows=rows))
    graph = Graph(plan)
    ready = deque(graph.start())
    with environment(ONE_THREAD), multiprocessing.get_context("spawn").Pool(workers, begin, (Job.of(plan),)) as pool:
        pool.map(measure_nothing, range(workers), chunksize=1)
        start = time.perf_counter()
        while ready:
            for task, facts in pool.imap_unordered(do, ready.popleft()):
                if following := graph.done(task, facts):
                    ready.append(iter(following))
        seconds = time.perf_counter() - start
    print(f"  same tasks  {seconds:7.1f} s", flush=True)
    return seconds


def measure_nothing(_: int) -> None:
    """A process of the pool is there, its imports done."""
    time.sleep(0.5)


def main() -> None:
    """Print both, and the ratio."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", nargs="*", default=[])
    options.add_argument("--seconds", type=float, default=60.0, help="aim at this much work")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--part-rows", type=int, default=1000)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--ours-only", action="store_true", help="no pools beside it: where our CPU time goes")
    options.add_argument(
        "--same-tasks-only", action="store_true", help="no bare loops beside it: what the executor costs"
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
        copies = max(1, round(given.seconds / bare(once, once, given.workers)))
        data = root / "data"
        data.mkdir()
        print(f"{repeat_with_fresh_ids(files, data, copies=copies):,} images", flush=True)
        ratios = []
        with environment(ONE_THREAD):
            ray.init(
                address="local",
                num_cpus=given.workers,
                include_dashboard=False,
                object_store_memory=128 << 20,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        # Workers started, modules imported, as the pool has them too.
        ours(once, root / "warm", given.part_rows, given.workers)
        for turn in range(given.rounds):
            tars = root / f"bare{turn}"
            tars.mkdir()
            whole, end = ours(data, root / f"ours{turn}", given.part_rows, given.workers)
            shutil.rmtree(root / f"ours{turn}")
            if given.ours_only:
                continue
            tasks = same_work(data, root / f"same{turn}", given.part_rows, given.workers)
            shutil.rmtree(root / f"same{turn}")
            if given.same_tasks_only:
                ratios.append((whole / tasks,))
                continue
            pools = [bare(data, tars, given.workers, short_side=side) for side in (0, 1)]
            shutil.rmtree(tars)
            ratios.append((whole / tasks, whole / pools[0], whole / pools[1], end / pools[0]))
        ray.shutdown()
        names = (
            "ours / the same tasks",
            "ours / bare loop",
            "ours / bare loop that decodes small",
            "with the report / bare loop",
        )
        for name, values in zip(names, zip(*ratios, strict=True), strict=False):
            print(f"{name}: median {statistics.median(values):.3f}, {', '.join(f'{r:.3f}' for r in values)}")


if __name__ == "__main__":
    main()
