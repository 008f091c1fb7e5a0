"""Selects in tasks: for any runs, order and ranges the answer of the form that has everything in memory."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from pictures import clip, film, jpeg, photograph, sample_of

from curation.batch import Batch
from curation.select import ClusterBalance, PerceptualDedup, SemanticDedup
from curation.select.base import BasedSelect
from curation.select.kmeans import unit
from curation.select.pictures import LEADERS
from curation.select.tasks import TaskedSelect


@dataclass
class Memory:
    """Tables of earlier tasks."""

    run_tables: list[dict[str, pl.DataFrame]]
    learned_table: pl.DataFrame
    range_tables: list[pl.DataFrame]
    relation: pl.DataFrame

    @property
    def runs(self) -> int:
        return len(self.run_tables)

    def learned(self) -> pl.DataFrame:
        return self.learned_table

    def table(self, name: str, run: int, columns: Sequence[str] | None = None) -> pl.DataFrame:
        table = self.run_tables[run][name]
        return table.select(columns) if columns else table

    def scan(self, name: str, run: int) -> pl.LazyFrame:
        return self.run_tables[run][name].lazy()

    def ranges(self) -> list[pl.LazyFrame]:
        return [table.lazy() for table in self.range_tables]

    def related(self) -> pl.LazyFrame:
        return self.relation.lazy()


def in_tasks(select: TaskedSelect, table: pl.DataFrame, *, rows: int, most: int) -> tuple[pl.DataFrame, int]:
    """What is dropped, by tasks over runs of so many rows and ranges of so many keys; and how many range tasks there were."""
    parts = [table[at : at + rows] for at in range(0, len(table), rows)]
    base = [select.base_table(file) for file in select.base_files()] if isinstance(select, BasedSelect) else []
    learned = select.learn(lambda: [*parts, *base]) if "learn" in select.TASKS else pl.DataFrame()
    gathered = []
    for number, part in enumerate(parts):
        placed = part.with_columns(part=pl.lit(f"{number}"), row=pl.int_range(len(part), dtype=pl.Int32))
        gathered.append(select.gather(placed, learned))
    for part in base:
        placed = part.with_columns(part=pl.lit(""), row=pl.lit(0, pl.Int32))
        gathered.append(select.gather(placed, learned, base=True))
    memory = Memory([tables for tables, _ in gathered], learned, [], pl.DataFrame())
    amount, tasks = sum(keys for _, keys in gathered), 0
    for kind in select.TASKS:
        if kind not in ("meet", "pairs"):
            continue
        of = select.num_ranges(kind, amount, most)
        if kind == "meet":
            found = [select.meet(memory, number, of)[0] for number in range(of)]
        else:
            found = [select.pairs(memory, number, of) for number in range(of)]
        memory.range_tables, amount, tasks = found, sum(map(len, found)), tasks + of
    if select.SCORES:
        memory.relation = pl.concat(select.related(memory))
    dropped = select.decide(memory)
    places = {(f"{number}", row): i for number, part in enumerate(parts) for row, i in enumerate(part["id"])}
    for part, row, i, for_part, for_row, other in dropped.select(
        "part", "row", "id", "for_part", "for_row", "duplicate_of"
    ).iter_rows():
        assert places[part, row] == i
        assert not for_part or places[for_part, for_row] == other
    return dropped, tasks


@pytest.fixture(scope="module")
def looks() -> pl.DataFrame:
    """Pictures with altered copies, a hash far too common, samples of two pictures, clips and cuts of them; scores with ties and gaps."""
    changes: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda p: p, lambda p: cv2.resize(p, None, fx=0.6, fy=0.6), lambda p: p[6:-4, 3:-9], lambda p: p[:, ::-1],
        lambda p: cv2.copyMakeBorder(p, 9, 9, 9, 9, cv2.BORDER_CONSTANT, value=(0, 0, 0)),
    ]  # fmt: skip
    generator = random.Random(3)
    samples = []
    for seed in range(14):
        for change in generator.sample(changes, 3):
            samples.append(sample_of(f"{len(samples)}", jpeg(np.ascontiguousarray(change(photograph(seed, 120, 160))))))
    common = jpeg(photograph(77, 120, 160))
    samples += [sample_of(f"common{n}", common) for n in range(LEADERS + 9)]
    one, two = jpeg(photograph(0, 120, 160)), jpeg(photograph(1, 120, 160))
    samples += [
        sample_of("two", one, two),
        sample_of("again", jpeg(photograph(0, 120, 160), 60), two),
        sample_of("turned", two, one),
    ]
    frames = film([1, 2, 3, 4], 8)
    shots = [frames, frames[6:30], [np.ascontiguousarray(f[:, ::-1]) for f in frames], film([5, 6, 7], 8)]
    samples += [sample_of(f"clip{n}", clip(shot), kind="video") for n, shot in enumerate(shots)]
    table = PerceptualDedup().signature(Batch(samples)).with_columns(id=pl.Series([sample.id for sample in samples]))
    scores = [generator.choice([1.0, 2.0, None, float("nan")]) for _ in samples]
    return table.with_columns(Score=pl.Series(scores, dtype=pl.Float64)).sample(fraction=1, shuffle=True, seed=1)


@pytest.mark.parametrize(("rows", "most", "best"), [(1000, 10**6, None), (9, 700, "Score"), (31, 2000, None)])
def test_perceptual_in_tasks_equals_perceptual_at_once(
    looks: pl.DataFrame, rows: int, most: int, best: str | None
) -> None:
    select = PerceptualDedup(best=best)
    once = select.choose(looks)
    assert len(once) > 40
    again = looks.sample(fraction=1, shuffle=True, seed=rows)
    dropped, tasks = in_tasks(select, again, rows=rows, most=most)
    assert dropped.select(once.columns).sort("id").equals(once)
    assert tasks >= (10 if most > 1000 else 25)


@dataclass(frozen=True, kw_only=True)
class Written:
    """Vectors that are already in the table."""

    def open(self) -> Callable[[Batch], np.ndarray]:
        raise AssertionError("the table holds the vectors")


@pytest.fixture(scope="module")
def vectors() -> pl.DataFrame:
    """Around some centres; a third near another one; some samples without; scores with ties and gaps."""
    generator = np.random.default_rng(5)
    centres = unit(generator.standard_normal((9, 24)))
    rows = unit(centres[generator.integers(0, 9, 900)] + unit(generator.standard_normal((900, 24))))
    for row in range(0, 897, 3):
        rows[row] = unit(
            (rows[row + 1] + generator.uniform(0, 0.45) * unit(generator.standard_normal((1, 24)))[0])[None]
        )[0]
    cells = [None if number % 50 == 7 else vector.tobytes() for number, vector in enumerate(rows.astype(np.float16))]
    table = pl.DataFrame({"id": [f"{n * 7919 % 1000:032x}" for n in range(900)], "embedding": cells})
    return table.with_columns(Score=pl.Series(generator.choice([0.5, 1.0, np.nan], 900)))


@pytest.mark.parametrize(("rows", "most"), [(2000, 10**6), (70, 3000), (333, 500)])
def test_semantic_in_tasks_equals_semantic_at_once(vectors: pl.DataFrame, rows: int, most: int) -> None:
    select = SemanticDedup(embed=Written(), cosine=0.95, clusters=12, best="Score")
    once = select.choose(vectors)
    assert len(once) > 150
    dropped, tasks = in_tasks(select, vectors.sample(fraction=1, shuffle=True, seed=rows), rows=rows, most=most)
    assert dropped.select(once.columns).sort("id").equals(once)
    assert tasks >= (1 if most > 10**5 else 5)


def test_balance_in_tasks_equals_balance_at_once(vectors: pl.DataFrame) -> None:
    select = ClusterBalance(embed=Written(), clusters=12, quota=20, best="Score")
    once = select.choose(vectors)
    for rows in (2000, 70):
        dropped, _ = in_tasks(select, vectors.sample(fraction=1, shuffle=True, seed=rows), rows=rows, most=1)
        assert dropped.select("id").sort("id").equals(once.select("id").sort("id"))


def test_nothing_to_compare_passes(vectors: pl.DataFrame, looks: pl.DataFrame) -> None:
    bare = vectors.with_columns(embedding=pl.lit(None, pl.Binary))
    for select in (SemanticDedup(embed=Written(), best="Score"), ClusterBalance(embed=Written(), clusters=3, quota=1)):
        assert in_tasks(select, bare, rows=200, most=10)[0].is_empty()
    blind = looks.with_columns(views=pl.lit(None, pl.Binary), stills=pl.lit(None, pl.Binary))
    assert in_tasks(PerceptualDedup(), blind, rows=20, most=10)[0].is_empty()


@pytest.mark.parametrize("kind", ["perceptual", "semantic"])
def test_later_samples_are_held_against_a_base_which_loses_none(
    looks: pl.DataFrame, vectors: pl.DataFrame, tmp_path: Path, kind: str
) -> None:
    perceptual = kind == "perceptual"
    table = (looks if perceptual else vectors).sort("id").sample(fraction=1, shuffle=True, seed=4)
    first: PerceptualDedup | SemanticDedup = PerceptualDedup(best="Score")
    first = first if perceptual else SemanticDedup(embed=Written(), cosine=0.95, clusters=12, visited=12, best="Score")
    earlier, later = table[: len(table) // 5], table[len(table) // 5 :]
    kept = earlier.join(first.choose(earlier), on="id", how="anti")
    again = pl.concat([later, kept[:5]])  # some come a second time
    cuts = (kept[at : at + 40] for at in range(0, len(kept), 40))
    assert first.write_base(cuts, tmp_path / "base") > 5
    select = replace(first, base=str(tmp_path / "base"))
    once = select.choose(again)
    dropped, _ = in_tasks(select, again, rows=50, most=900)
    assert dropped.select(once.columns).sort("id").equals(once)
    assert set(first.comparable(kept[:5])["id"]) <= set(once["id"])
    stands = set(once["duplicate_of"])
    assert stands & set(kept["id"])
    assert stands & set(later["id"])
    # Who is left of the later ones is like none of the base, nor one another.
    left = again.join(once, on="id", how="anti")
    assert select.choose(left).is_empty()
