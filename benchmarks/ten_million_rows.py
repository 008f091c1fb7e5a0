"""Ten million sample rows without media through filters, exact dedup, balance and mixture: time and memory.

    python benchmarks/ten_million_rows.py [--decisions 10000000]                                  what is decided, from stored numbers
    python benchmarks/ten_million_rows.py --rows 100000 [--out DIR] [--workers 2] [--part-rows N]  a whole run: read, measured, written

The first calls what a run calls once the numbers are stored: every filter's verdict on every row, the exact dedup's runs of keys, ranges
of pairs and survivors with their files, the balance, the mixture and the shards' layout; one process, one thread, rows drawn at random,
one in eight with the key of another. The second is a run like any other by the local executor: text of a few words, its tokens counted.
Seconds and peak memory are those that its workers told in run.jsonl.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curation.filters import CharacterRatio, Words
from curation.operator import Part, PartLimits, Source
from curation.sample import BadSample, Origin, Sample, Turn, sample_id
from curation.select import Balance, ExactDedup
from pipelines.mixture import choose, lay_into_shards
from pipelines.plan import make_plan
from pipelines.recipe import Mixture, Recipe, ShardLimits, branch
from pipelines.run import run
from pipelines.select import decide_by_pairs, pair_range, write_run
from pipelines.steps import FilterStep
from pipelines.store import Store

LICENCES = ("cc0", "cc-by-4.0", "cc-by-sa-4.0", "mit")
NAMES = "a the one two red green blue old new small large quiet busy cat dog car"
WORDS = NAMES.split()


@dataclass(frozen=True, kw_only=True)
class Rows(Source):
    """Captions made of numbers."""

    title: str
    count: int

    def files(self) -> Sequence[str]:
        """None."""
        return ()

    def parts(self, limits: PartLimits) -> Sequence[Part]:
        """Ranges of rows."""
        return [
            Part(uri=self.title, begin=begin, end=min(self.count, begin + limits.rows), rows=limits.rows)
            for begin in range(0, self.count, limits.rows)
        ]

    def read(self, part: Part) -> Iterator[Sample | BadSample]:
        """A row's words follow from its number, or from that of the row it repeats."""
        for row in range(part.begin, part.end):
            origin = Origin(source=self.title, locator=f"{self.title}#{row}", name=str(row), licence=LICENCES[row % 4])
            number = (row if row % 8 else row // 2) * 2_654_435_761 % 2**64
            words = [WORDS[number >> shift & 15] for shift in range(0, 4 * (2 + number % 7), 4)]
            turns = (Turn(role="assistant", text=f"{' '.join(words)} {number:x}"),)
            yield Sample(id=sample_id(origin, turns, ()), turns=turns, media=(), origin=origin)


def recipe(rows: int) -> Recipe:
    """Two branches, cheap filters first."""
    branches = [
        branch(
            title,
            Rows(title=title, count=int(share * rows)),
            Words(low=4, high=64),
            CharacterRatio(characters="alphabetic", low=0.5),
            ExactDedup(by="text"),
            Balance(by="licence", quotas={"cc0": int(share * rows) // 8}),
        )
        for title, share in (("captions", 0.7), ("titles", 0.3))
    ]
    limits = ShardLimits(samples=65_536)
    mixture = Mixture(weights={"captions": 0.6, "titles": 0.4})
    return Recipe(stage="stage1", branches=tuple(branches), mixture=mixture, shards=limits)


RUN_ROWS = 1_000_000


def drawn(rows: int) -> pl.DataFrame:
    """What is stored of samples: id, place, scores, key, licence, sizes."""
    draw = np.random.default_rng(0)
    ids = draw.integers(0, 1 << 64, (rows, 2), dtype=np.uint64).astype(">u8").tobytes().hex()
    keys = np.where(draw.random(rows) < 1 / 8, draw.integers(0, rows, rows), np.arange(rows)).astype(np.uint64)
    return pl.DataFrame({
        "id": [ids[32 * row : 32 * row + 32] for row in range(rows)],
        "part": pl.Series(np.arange(rows) // 16_384).cast(pl.String).str.zfill(6),
        "row": (np.arange(rows) % 16_384).astype(np.int32),
        "Words": draw.integers(1, 80, rows).astype(float), "ratio": draw.random(rows),
        "key_high": keys * np.uint64(0x9E3779B97F4A7C15), "key_low": (keys + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93),
        "value": pl.Series(draw.integers(0, 4, rows)).cast(pl.String), "branch": np.where(draw.random(rows) < 0.7, "captions", "titles"),
        "tokens": draw.integers(8, 600, rows), "bytes": draw.integers(20_000, 200_000, rows),
    })  # fmt: skip


class Clock:
    """Prints what passed since the last line, and the peak of this process so far."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def line(self, what: str, rows: int, left: int) -> None:
        """One step, of so many rows; what is left of them."""
        wall, cpu = time.perf_counter(), time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        each = 1e6 * (cpu - self._cpu) / rows
        print(
            f"{what:32s} {cpu - self._cpu:7.1f} s of CPU, {wall - self._wall:7.1f} s, {each:6.2f} us a row; "
            f"{left:12,} left; peak {peak:7,.0f} MB",
            flush=True,
        )
        self._wall, self._cpu = time.perf_counter(), time.process_time()


def filtered(table: pl.DataFrame) -> pl.DataFrame:
    """The verdict of two filters on stored numbers, as a pass takes it: sample by sample."""
    words = FilterStep(name="Words", measure="", operator=Words(low=4, high=64))
    ratio = FilterStep(name="ratio", measure="", operator=CharacterRatio(characters="alphabetic", low=0.1))
    sample = Sample(id="", turns=(), media=(), origin=Origin(source="", locator="", name=""))
    kept = np.zeros(len(table), bool)
    for begin in range(0, len(table), 16_384):
        values = zip(
            table["Words"][begin : begin + 16_384].to_list(),
            table["ratio"][begin : begin + 16_384].to_list(),
            strict=True,
        )
        for row, (first, second) in enumerate(values, begin):
            record = {"row": row}
            going = words.settle(sample, first, record)
            kept[row] = going is sample and ratio.settle(sample, second, record) is sample
    return table.filter(pl.Series(kept))


def without_duplicates(table: pl.DataFrame, store: Store) -> pl.DataFrame:
    """The tasks of a Select in partitions, one after another."""
    select = ExactDedup(best="Words")
    names, keys = [], 0
    for begin in range(0, len(table), RUN_ROWS):
        names.append(f"{begin // RUN_ROWS:06d}")
        piece = table[begin : begin + RUN_ROWS]
        keys += write_run(store, "exact", select, names[-1], piece, rows=len(piece))["keys"]
    of = max(1, -(-keys // (4 << 20)))
    for number in range(of):
        pair_range(store, "exact", select, names, number, of)
    _, dropped = decide_by_pairs(store, "exact", select, names, of)
    return table.join(dropped, on="id", how="anti", maintain_order="left")


def decisions(rows: int) -> None:
    """Every decision over so many rows."""
    clock = Clock()
    table = drawn(rows)
    clock.line("rows drawn", rows, len(table))
    table = filtered(table)
    clock.line("two filters", rows, len(table))
    seen = len(table)
    with tempfile.TemporaryDirectory() as folder:
        table = without_duplicates(table, Store(root=Path(folder)))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    clock.line(f"exact dedup ({size / 1e9:.2f} GB of files)", seen, len(table))
    seen = len(table)
    gone = Balance(by="licence", quotas={"0": seen // 8}).choose(table.select("id", "value"))
    table = table.join(gone, on="id", how="anti", maintain_order="left")
    clock.line("balance", seen, len(table))
    seen = len(table)
    sizes = table.select("branch", "part", "row", "id", "tokens", "bytes")
    chosen = choose(sizes, Mixture(weights={"captions": 0.6, "titles": 0.4}), seed=0)
    clock.line("mixture", seen, int(chosen["chosen"].sum()))
    laid = lay_into_shards(chosen, ShardLimits(), seed=0)
    clock.line(f"layout of {laid['shard'].n_unique() - 1:,} shards", seen, int(chosen["chosen"].sum()))


def main() -> None:
    """Decide, or run, and print what it took."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=Path("/tmp/rows"))
    options.add_argument("--rows", type=int, default=0)
    options.add_argument("--decisions", type=int, default=1_000_000)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--part-rows", type=int, default=16_384)
    given = options.parse_args()
    if not given.rows:
        decisions(given.decisions)
        return
    start = time.perf_counter()
    plan = make_plan(recipe(given.rows), given.out, limits=PartLimits(rows=given.part_rows))
    result = run(plan, workers=given.workers, recipe_file=__file__)
    seconds = time.perf_counter() - start
    kinds: dict[str, Counter[str]] = {}
    for line in (given.out / "run.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "task":
            told = kinds.setdefault(event["task"].partition("-")[0], Counter())
            told["tasks"] += 1
            told["milliseconds"] += round(1000 * event["seconds"])
            told["peak"] = max(told["peak"], event["peak_bytes"])
    print(f"{given.rows:,} rows, {given.workers} workers: {seconds:,.0f} s")
    for kind, told in kinds.items():
        worker = told["milliseconds"] / 1000
        each = 1e6 * worker / given.rows
        print(
            f"  {kind:8s} {told['tasks']:6,} tasks {worker:9,.1f} s {each:7.2f} us a row, peak {told['peak'] / 1e6:7,.0f} MB"
        )
    driver = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    kept = sum(shard.samples for shard in result.manifest.shards)
    size = sum(path.stat().st_size for path in given.out.rglob("*") if path.is_file())
    print(
        f"  driver {driver:,.0f} MB; {kept:,} samples in {len(result.manifest.shards)} shards; OUT {size / 1e9:.2f} GB"
    )
    shutil.rmtree(given.out)


if __name__ == "__main__":
    main()
