"""Passes: what a worker still holds when it reads on."""

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from run_checks import build

from curation.batch import Batch
from curation.operator import Filter, Part, PartLimits, Source
from curation.sample import Origin, Sample, Turn, sample_id
from pipelines.plan import make_plan
from pipelines.recipe import Recipe, branch

BATCHES: list[weakref.ref[Batch]] = []
STILL_HELD: list[int] = []
ROWS = 600


@dataclass(frozen=True, kw_only=True)
class Looking(Source):
    """Texts; counts, in the middle of the second batch, the batches that are in memory."""

    def files(self) -> Sequence[str]:
        return ()

    def parts(self, limits: PartLimits) -> Sequence[Part]:
        return [Part(uri="texts", begin=0, end=ROWS, rows=ROWS)]

    def read(self, part: Part) -> Iterator[Sample]:
        for row in range(part.rows):
            if row == ROWS // 2:
                STILL_HELD.append(sum(batch() is not None for batch in BATCHES))
            origin = Origin(source="texts", locator=f"texts#{row}", name=str(row))
            turns = (Turn(role="assistant", text=f"number {row}"),)
            yield Sample(id=sample_id(origin, turns, ()), turns=turns, media=(), origin=origin)


@dataclass(frozen=True, kw_only=True)
class Noting(Filter):
    """Remembers its batches, weakly."""

    def measure(self, batch: Batch) -> pl.Series:
        BATCHES.append(weakref.ref(batch))
        return pl.Series([1.0] * len(batch))


def test_a_batch_and_its_bytes_are_gone_before_the_next_is_read(tmp_path: Path) -> None:
    texts = branch("texts", Looking(), Noting())
    build(make_plan(Recipe(stage="stage1", branches=(texts,)), tmp_path / "out"))
    assert len(BATCHES) > 1
    assert STILL_HELD == [0]
