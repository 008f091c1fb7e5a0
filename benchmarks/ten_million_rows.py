"""Sample rows without media through filters, exact dedup, balance and mixture to shards: time and memory of every kind of task.

    python benchmarks/ten_million_rows.py [--out /tmp/rows] [--rows 10000000] [--workers 2] [--part-rows 16384]

A run like any other: local executor, ledger, shards, manifest. A row is a caption of a few words with a licence and an origin; every
eighth repeats the words of another. Seconds and peak memory are those that the workers told in run.jsonl.
"""

import argparse
import json
import resource
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.filters import CharacterRatio, Words
from curation.operator import Part, PartLimits, Source
from curation.sample import BadSample, Origin, Sample, Turn, sample_id
from curation.select import Balance, ExactDedup
from pipelines.plan import make_plan
from pipelines.recipe import Mixture, Recipe, ShardLimits, branch
from pipelines.run import run

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


def main() -> None:
    """Run, and print what each kind of task took."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=Path("/tmp/rows"))
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--part-rows", type=int, default=16_384)
    given = options.parse_args()
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
