"""Ahead: the next batch is made while the GPU has the last, and nothing else changes."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
from run_checks import build, digests, ledger
from test_faults import curate, finish

from curation.filters import Decodable, Words
from curation.sources import ParquetSource
from pipelines.ahead import Ahead, AheadGuard
from pipelines.guard import Guard
from pipelines.plan import Plan
from pipelines.recipe import ONE_CPU, Recipe, branch, gpu, on

PlanOf = Callable[..., Plan]


def test_pictures_and_their_counts_are_the_same_ahead(corpora: Path, plan_of: PlanOf, tmp_path: Path) -> None:
    source = ParquetSource(f"{corpora}/image_text-*.parquet", texts="texts", id="id")
    counters = []
    for name, decodable in (("ahead", on(gpu(1), Decodable())), ("alone", on(ONE_CPU, Decodable()))):
        recipe = Recipe(stage="stage2", branches=(branch("images", source, Words(low=0), decodable),))
        counters.append(build(plan_of(tmp_path / name, replace(recipe, max_failures=0.5))).counters)
    assert counters[0] == counters[1]
    assert counters[0]["media_decoded"] > 0
    assert digests(tmp_path / "ahead") == digests(tmp_path / "alone")


@dataclass
class Told:
    """A guard that writes down what it is told."""

    places: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    beats: list[int] = field(default_factory=list[int])

    def at(self, node: str, row: int, rows: int, *, last: int | None = None, since: float | None = None) -> None:
        assert since is not None
        self.places.append((node, row, rows, last))

    def beat(self, num_bytes: int = 0) -> None:
        self.beats.append(num_bytes)


def test_the_watchdog_hears_of_what_is_ahead_only_while_somebody_waits() -> None:
    told = Told()
    guard = AheadGuard(cast(Guard, told))
    made, wanted = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        guard.at("Decodable", 40, 8)
        guard.beat(5)
        made.set()
        assert wanted.wait(60)
        guard.at("Decodable", 48, 8)
        yield 1

    with Ahead(items(), guard) as ahead:
        assert next(ahead) == 0
        assert made.wait(60)
        assert told.places == []
        beats = len(told.beats)
        waiting = threading.Timer(0.1, wanted.set)
        waiting.start()
        assert next(ahead) == 1
        assert told.places == [("Decodable", 40, 8, None), ("Decodable", 48, 8, None)]
        assert told.beats[beats:] == [5]


def test_what_fails_ahead_is_raised_where_it_is_wanted() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise OSError("the disk is gone")

    with Ahead(items(), AheadGuard(cast(Guard, Told()))) as ahead:
        assert next(ahead) == 0
        with pytest.raises(OSError, match="the disk is gone"):
            next(ahead)


TREACHEROUS = """
import time
from dataclasses import dataclass
from curation.filters import Words
from curation.operator import Filter
from curation.sources import JsonlSource
from pipelines.recipe import Recipe, branch, gpu, on

@dataclass(frozen=True, kw_only=True)
class Treacherous(Filter):
    def measure(self, batch):
        return batch.measure_each(lambda index: self._one(batch.samples[index].origin.name))

    def _one(self, name):
        while name == "t400":
            time.sleep(1)
        return 1.0

def recipe(data):
    source = JsonlSource(f"{data}/texts.jsonl", id="id")
    return Recipe(stage="stage2", branches=(branch("text", source, Treacherous(), *on(gpu(1), Words(low=1))),))
"""


@pytest.mark.slow
def test_a_sample_that_hangs_ahead_is_named(tmp_path: Path) -> None:
    lines = [json.dumps({"id": f"t{i}", "text": f"document number {i} says little"}) for i in range(600)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "recipe.py").write_text(TREACHEROUS)
    out = tmp_path / "out"
    process = curate(
        "run", f"{tmp_path}/recipe.py:recipe", "--data", str(tmp_path), "--out", str(out), "--workers", "1",
        "--sample-seconds", "2", "--quiet", "--no-report",
    )  # fmt: skip
    assert process.wait(120) == 0, finish(process)
    finish(process)
    bad = pl.read_parquet(next((out / "quarantine").iterdir()))
    assert bad.select("origin", "node", "error").rows() == [("t400", "Treacherous", "WorkerDied")]
    assert ledger(out).filter(pl.col("decision") == "kept").height == 599
