"""Captions of dropped pictures: the best picture stays and carries what its duplicates said; and how alike they were is written down."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from rich.console import Console
from run_checks import build, digests, ledger

from curation.filters import ShortSide
from curation.select import ExactDedup, PerceptualDedup
from curation.select.pictures import LEADERS
from curation.shards import ShardReader, open_dataset
from curation.sources import ParquetSource
from pipelines.explain import explain_sample
from pipelines.plan import Plan
from pipelines.recipe import Recipe, branch
from pipelines.run import run
from pipelines.signatures import write_signatures

# Of one picture a small file three times and a large one twice, and another picture.
CAPTIONS = {
    "s0": "a red door", "s1": "A red  DOOR", "s2": "the entrance", "l0": "a door", "l1": "A door", "other": "a hill",
}  # fmt: skip


def picture(seed: int, side: int) -> bytes:
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    pixels = cv2.resize(small, (4 * side // 3, side), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    small, large, other = picture(1, 96), picture(1, 240), picture(2, 96)
    data = {"s": small, "l": large, "o": other}
    rows = {"id": list(CAPTIONS), "image": [data[n[0]] for n in CAPTIONS], "text": list(CAPTIONS.values())}
    (tmp_path / "data").mkdir()
    pl.DataFrame(rows).write_parquet(tmp_path / "data" / "pictures.parquet")
    return tmp_path / "data"


def recipe(data: Path, *, alternates: int = 16) -> Recipe:
    images = branch(
        "images", ParquetSource(f"{data}/*.parquet", id="id"), ShortSide(low=16), ExactDedup(by="pixels", alternates=alternates),
        PerceptualDedup(alternates=alternates),
    )  # fmt: skip
    return Recipe(stage="stage1", branches=(images,))


def stored(out: Path) -> dict[str, list[str]]:
    """Caption of every sample in the shards, and its alternates."""
    samples = [sample.fields for path in open_dataset(out)[1] for sample in ShardReader(path)]
    return {fields["turns"][-1]["text"]: fields.get("alternates", []) for fields in samples}


@pytest.mark.slow
def test_the_best_picture_carries_the_other_captions(
    pictures: Path, plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = plan_of(tmp_path / "out", recipe(pictures), rows=2)
    build(plan)
    rows = ledger(plan.out).sort("id")
    small = rows.filter(pl.col("origin").str.starts_with("s"))
    # Equal but for case and spaces: the one of the smallest id, in the order of ids; what the survivor says itself is left out.
    said = [CAPTIONS[origin] for origin in small["origin"]]
    wanted = [said[0], next(text for text in said if text.casefold().split() != said[0].casefold().split())]
    found = stored(plan.out)
    survivor = next(text for text in found if text.casefold() == "a door")
    assert found == {survivor: wanted, "a hill": []}
    kept = rows.filter(pl.col("decision") == "kept")
    assert dict(kept.select("origin", "alternates").iter_rows()).get("other") == 0
    assert sorted(kept["alternates"].to_list()) == [0, 2]
    dropped = rows.filter(pl.col("decision") == "dropped")
    by_pixels = dropped.filter(pl.col("reason") == "ExactDedup[pixels].duplicate")
    assert by_pixels["similarity"].to_list() == [1.0] * 3
    alike = dropped.filter(pl.col("reason") == "PerceptualDedup.duplicate")["similarity"].to_list()
    assert len(alike) == 1
    assert 0.88 <= alike[0] <= 1
    console = Console(width=200)
    with console.capture() as capture:
        for tree in explain_sample(plan.out, kept.filter(pl.col("alternates") == 2)["id"][0]):
            console.print(tree)
    assert "carries 2 other captions" in capture.get()
    assert f"similarity {alike[0]:.4g}" in capture.get()


@pytest.mark.slow
def test_where_tasks_are_cut_changes_no_alternate(pictures: Path, plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plans = [plan_of(tmp_path / f"{n}", recipe(pictures), rows=rows) for n, rows in enumerate((6, 1))]
    plans[1] = replace(plans[1], select_parts=1, select_keys=2)
    for plan, workers in zip(plans, (0, 2), strict=True):
        build(plan, workers=workers)
    one, other = ({name: value for name, value in digests(p.out).items() if "tar" in name} for p in plans)
    assert one == other
    without = plan_of(tmp_path / "without", recipe(pictures, alternates=0), rows=6)
    build(without)
    assert "alternates" not in json.dumps(stored(without.out))
    assert not any(stored(without.out).values())
    assert ledger(without.out)["alternates"].fill_null(0).sum() == 0


def test_the_report_counts_and_names_what_is_too_common_to_compare_all(
    plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    rows = {
        "id": [f"{n}" for n in range(LEADERS + 5)],
        "image": [picture(1, 96)] * (LEADERS + 4) + [picture(2, 96)],
        "text": [f"caption {n}" for n in range(LEADERS + 5)],
    }
    pl.DataFrame(rows).write_parquet(tmp_path / "pictures.parquet")
    images = branch("images", ParquetSource(f"{tmp_path}/*.parquet", id="id"), PerceptualDedup())
    once = plan_of(tmp_path / "once", Recipe(stage="stage1", branches=(images,)), rows=4)
    for plan in (once, replace(once, out=tmp_path / "tasks", select_parts=2, select_keys=2000)):
        run(plan, workers=0, quiet=True)
        report = json.loads((plan.out / "report.json").read_text())
        crowds = report["branches"]["images"][-1]["crowds"]
        survivor = ledger(plan.out).filter(pl.col("decision") == "kept", pl.col("origin") != f"{LEADERS + 4}")["id"][0]
        assert crowds == {"keys": 1, "largest": [[survivor, LEADERS + 4]]}
        (line,) = report["seen"]["Duplicates"]["Too common to compare all"]
        assert (line["node"], line["best sample"], line["samples that share it"]) == (
            "PerceptualDedup",
            survivor,
            LEADERS + 4,
        )


@pytest.mark.parametrize("parts", [1, 1000])
def test_later_pictures_are_held_against_a_base(
    pictures: Path, plan_of: Callable[..., Plan], tmp_path: Path, parts: int
) -> None:
    first = plan_of(tmp_path / "first", recipe(pictures), rows=2)
    build(first)
    kept = ledger(first.out).filter(pl.col("decision") == "kept")
    assert write_signatures(first, "images", "PerceptualDedup", tmp_path / "base") == kept.height == 2
    later = {
        "id": ["old", "new", "new again"],
        "image": [picture(1, 480), picture(3, 96), picture(3, 120)],
        "text": ["a", "b", "c"],
    }
    (tmp_path / "later").mkdir()
    pl.DataFrame(later).write_parquet(tmp_path / "later" / "pictures.parquet")
    images = branch(
        "images", ParquetSource(f"{tmp_path}/later/*.parquet", id="id"), PerceptualDedup(base=str(tmp_path / "base"))
    )
    plan = replace(
        plan_of(tmp_path / "second", Recipe(stage="stage1", branches=(images,)), rows=1),
        select_parts=parts,
        select_keys=100,
    )
    build(plan)
    rows = {row["origin"]: row for row in ledger(plan.out).to_dicts()}
    assert rows["old"]["duplicate_of"] == kept.filter(pl.col("origin").str.starts_with("l"))["id"][0]
    assert rows["new"]["duplicate_of"] == rows["new again"]["id"]
    assert rows["new again"]["decision"] == "kept"
