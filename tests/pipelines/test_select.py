"""Selects that are taken in partitions: the same answer as at once, for any runs, key ranges, workers and interruptions."""

import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from run_checks import build, digests, ledger

from curation.batch import Batch
from curation.filters import Words
from curation.operator import Filter, PartLimits, RecipeError, Select
from curation.select import MinHashDedup
from curation.sources import JsonlSource
from pipelines.plan import Plan, make_plan
from pipelines.recipe import Recipe, branch
from pipelines.signatures import write_signatures


@dataclass(frozen=True, kw_only=True)
class Draw(Filter):
    """A number that differs from text to text: ids cover the place too, so they would decide otherwise in another order."""

    def measure(self, batch: Batch) -> np.ndarray:
        return np.array([zlib.crc32(text.encode()) for text in batch.texts()], dtype=float)


DEDUP = MinHashDedup(size=3, jaccard=0.6, best="Draw")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 texts: families of edits, chains, exact copies, short and empty ones; in two files, whose order can be turned."""
    generator = random.Random(5)
    lines = []
    for _ in range(30):
        words = [f"w{generator.randrange(3000)}" for _ in range(generator.randrange(1, 60))]
        for _ in range(5):
            words = [w if generator.random() > 0.04 else f"w{generator.randrange(3000)}" for w in words]
            lines.append(json.dumps({"id": f"t{len(lines)}", "text": " ".join(words)}))
    generator.shuffle(lines)
    folder = tmp_path_factory.mktemp("texts")
    (folder / "a.jsonl").write_text("\n".join(lines[:85]) + "\n")
    (folder / "b.jsonl").write_text("\n".join(lines[85:]) + "\n")
    return folder


@pytest.fixture
def plan(texts: Path, tmp_path: Path) -> Callable[..., Plan]:
    def make(name: str, select: Select = DEDUP, *, data: Path = texts, rows: int = 17, **options: int) -> Plan:
        recipe = Recipe(
            stage="stage1", branches=(branch("text", JsonlSource(str(data), id="id"), Words(low=2), Draw(), select),)
        )
        made = make_plan(recipe, tmp_path / name, data=str(data), limits=PartLimits(rows=rows))
        return replace(made, **options)  # pyright: ignore[reportArgumentType]

    return make


def commits(plan: Plan) -> dict[str, int]:
    """Markers of the Select's tasks and when they were written."""
    folder = plan.out / "work" / plan.branches[0].segments[0].select_id
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}


def fates(out: Path) -> pl.DataFrame:
    return ledger(out).select("id", "decision", "reason", "duplicate_of", "Draw").sort("id")


@pytest.mark.slow
@pytest.mark.parametrize(("parts", "keys", "rows", "workers"), [(1, 50, 17, 0), (3, 400, 17, 2), (1, 60, 90, 0)])
def test_partitions_change_nothing(plan: Callable[..., Plan], parts: int, keys: int, rows: int, workers: int) -> None:
    at_once = plan("once")
    build(at_once)
    cut = plan("cut", rows=rows, select_parts=parts, select_keys=keys)
    build(cut, workers=workers)
    assert set(commits(at_once)) == {"dropped.json"}
    assert len(commits(cut)) > 3
    assert digests(cut.out) == digests(at_once.out)
    assert fates(cut.out).equals(fates(at_once.out))
    assert fates(cut.out)["duplicate_of"].drop_nulls().len() > 40


def test_the_order_of_samples_changes_no_survivor(plan: Callable[..., Plan], texts: Path, tmp_path: Path) -> None:
    lines = [line for path in sorted(texts.iterdir()) for line in path.read_text().splitlines()]
    kept = []
    for name, some in (("one", lines), ("other", lines[::-1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "texts.jsonl").write_text("\n".join(some) + "\n")
        made = plan(f"out-{name}", data=tmp_path / name, select_parts=2, select_keys=300)
        build(made)
        # Equal texts draw equal numbers; which of them stays is for their ids to say.
        kept.append(ledger(made.out).filter(pl.col("decision") == "kept")["Draw"].sort().to_list())
    assert kept[0] == kept[1]


@pytest.mark.slow
def test_an_interrupted_select_goes_on_where_it_was(plan: Callable[..., Plan]) -> None:
    made = plan("out", select_parts=2, select_keys=100)
    build(made)
    wanted, written = digests(made.out), commits(made)
    folder = made.out / "work" / made.branches[0].segments[0].select_id
    pairs = sorted(name for name in written if name.startswith("pairs"))
    runs = sorted(name for name in written if name.startswith("keys"))
    assert len(pairs) > 3
    assert len(runs) > 3
    for lost in (["dropped.json"], ["dropped.json", *pairs[1:]], ["dropped.json", *pairs, *runs[2:]]):
        (made.out / "manifest.json").unlink()
        for name in lost:
            (folder / name).unlink()
        build(made)
        assert digests(made.out) == wanted
        again = commits(made)
        assert {name for name in again if again[name] != written[name]} == set(lost)
        written = again


def test_a_damaged_run_is_gathered_again(plan: Callable[..., Plan]) -> None:
    made = plan("out", select_parts=4, select_keys=500)
    build(made)
    wanted = digests(made.out)
    folder = made.out / "work" / made.branches[0].segments[0].select_id
    damaged = min(folder.glob("keys-*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    (made.out / "manifest.json").unlink()
    (folder / "dropped.json").unlink()
    for marker in folder.glob("pairs-*.json"):
        marker.unlink()
    build(made)
    assert digests(made.out) == wanted


def test_a_branch_of_which_nothing_is_left_passes(plan: Callable[..., Plan], tmp_path: Path) -> None:
    data = tmp_path / "empty"
    data.mkdir()
    (data / "texts.jsonl").write_text("".join(json.dumps({"id": str(n), "text": "one"}) + "\n" for n in range(40)))
    made = plan("out", data=data, rows=5, select_parts=2, select_keys=10)
    manifest = build(made).manifest
    assert manifest.shards == ()
    assert set(ledger(made.out)["reason"]) == {"Words.below"}


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 1000])
def test_later_data_are_held_against_the_signatures_of_earlier(
    plan: Callable[..., Plan], texts: Path, tmp_path: Path, parts: int
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, file in ((old, "a.jsonl"), (new, "b.jsonl")):
        folder.mkdir()
        (folder / file).write_bytes((texts / file).read_bytes())
    first = plan("first", data=old)
    build(first)
    kept = set(ledger(first.out).filter(pl.col("decision") == "kept")["id"])
    base = tmp_path / "base"
    assert 0 < write_signatures(first, "text", "MinHashDedup", base) <= len(kept)
    second = plan("second", replace(DEDUP, base=str(base)), data=new, select_parts=parts, select_keys=100)
    build(second)
    alone = plan("alone", data=new)
    build(alone)
    survivors = ledger(second.out)["duplicate_of"].drop_nulls()
    ours = set(ledger(second.out)["id"])
    # Some fall to the base, some to each other, and nobody else is named.
    assert survivors.is_in(list(kept)).any()
    assert survivors.is_in(list(ours)).any()
    assert set(survivors) <= kept | ours
    left = [ledger(out).filter(pl.col("decision") == "kept").height for out in (second.out, alone.out)]
    assert left[0] < left[1]
    with pytest.raises(RecipeError, match="no Select 'Words' with signatures, only MinHashDedup"):
        write_signatures(first, "text", "Words", base)
