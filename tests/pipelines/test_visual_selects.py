"""Perceptual and semantic dedup and balance in whole runs: the same datasets anywhere; another cut measures nothing again."""

import json
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from run_checks import build, digests, ledger

from curation.filters import ShortSide
from curation.select import Balance, ClusterBalance, PerceptualDedup, SemanticDedup
from curation.select.colour_embedding import ColourEmbedding
from curation.sources import ParquetSource
from pipelines.plan import Plan
from pipelines.recipe import Recipe, branch
from pipelines.run import run


def recipe(data: Path, *, cosine: float = 0.97) -> Recipe:
    """Everything that decides by what pictures look like, over one corpus of pictures."""
    embed = ColourEmbedding()
    images = branch(
        "images",
        ParquetSource(f"{data}/image_text-*.parquet", id="id"),
        ShortSide(low=16),
        PerceptualDedup(best="ShortSide"),
        SemanticDedup(embed=embed, cosine=cosine, floor=0.3, clusters=3),
        ClusterBalance(embed=embed, clusters=4, quota=12),
        Balance(by="licence", quota=30),
    )
    return Recipe(stage="stage1", branches=(images,), max_failures=1.0)


def node_markers(plan: Plan, segment: int) -> list[Path]:
    return sorted((plan.out / "work" / plan.branches[0].segments[segment].id).glob("*.json"))


@pytest.mark.slow
def test_workers_and_parts_change_nothing(corpora: Path, plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plans = [plan_of(tmp_path / f"{rows}", recipe(corpora), rows=rows) for rows in (40, 13)]
    plans[1] = replace(plans[1], select_parts=2, select_keys=900)
    for plan, workers in zip(plans, (0, 2), strict=True):
        build(plan, workers=workers)
    first, second = (ledger(plan.out).drop("part").sort("id") for plan in plans)
    assert first.equals(second)
    reasons = set(first["reason"].drop_nulls())
    assert {"SemanticDedup.duplicate", "ClusterBalance.quota"} <= reasons
    shards = [{name: value for name, value in digests(plan.out).items() if name.endswith(".tar")} for plan in plans]
    assert shards[0] == shards[1]
    _goes_on_where_it_was(plans[1])


def _goes_on_where_it_was(plan: Plan) -> None:
    """Of a Select in tasks only what is lost is done again, and gives the same."""
    wanted = digests(plan.out)
    for segment in plan.branches[0].segments[:3]:
        folder, decided = (
            plan.out / "work" / node for node in (segment.relation_id or segment.select_id, segment.select_id)
        )
        markers = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
        ranges = sorted(path for path in markers if path.name.startswith(("meet", "pairs")))
        assert len(ranges) > 2 or isinstance(segment.select, ClusterBalance)
        lost = {
            *ranges[::3],
            *sorted(folder.glob("keys-*.json"))[:1],
            *folder.glob("related.json"),
            *decided.glob("dropped.json"),
        }
        for path in lost:
            path.unlink()
        (plan.out / "manifest.json").unlink()
        build(plan)
        assert digests(plan.out) == wanted
        again = {path for path in markers if path.stat().st_mtime_ns != markers[path]}
        assert again == {path for path in lost if path.parent == folder}


@pytest.mark.ray
@pytest.mark.slow
def test_killed_in_the_middle_of_a_select_and_resumed_on_ray_gives_the_same_bytes(
    corpora: Path, plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = plan_of(tmp_path / "out", recipe(corpora), rows=13)
    whole = replace(plan, out=tmp_path / "want")
    build(whole)
    plan = replace(plan, select_parts=2, select_keys=900)
    _kill_at_first(plan, plan.branches[0].segments[0].select_id, "meet")
    result = build(plan, executor="ray", workers=2)
    assert not result.nothing_to_do
    assert digests(plan.out) == digests(whole.out)
    tables = [ledger(out).sort("id") for out in (plan.out, whole.out)]
    assert tables[0].equals(tables[1])


def _kill_at_first(plan: Plan, node: str, kind: str) -> None:
    """Kill the driver of a run, with -9, as soon as one task of a kind is committed. Its workers must notice by themselves."""
    options = {"workers": 2, "quiet": True}
    driver = multiprocessing.get_context("spawn").Process(target=run, args=(plan,), kwargs=options)
    driver.start()
    folder = plan.out / "work" / node
    while not any(folder.glob(f"{kind}-*.json")):
        driver.join(0.01)
        assert driver.is_alive(), f"it ended with {driver.exitcode} before it committed any {kind}"
    driver.kill()
    driver.join()
    assert not (plan.out / "manifest.json").exists()


@pytest.mark.slow
def test_the_ledger_holds_the_similarity_and_another_cut_looks_at_nothing_again(
    corpora: Path, plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    strict = plan_of(tmp_path / "out", recipe(corpora, cosine=0.999))
    build(strict)
    before = {path: path.stat().st_mtime_ns for path in node_markers(strict, 1)}
    related = tmp_path / "out" / "work" / strict.branches[0].segments[1].relation_id
    times = [path.stat().st_mtime_ns for path in sorted(related.iterdir())]
    few = ledger(strict.out)
    cut = round(few["semantic_similarity"].drop_nulls().median(), 3)  # pyright: ignore[reportArgumentType, reportCallIssue]
    loose = plan_of(tmp_path / "out", recipe(corpora, cosine=cut))
    build(loose)
    many = ledger(loose.out)
    assert loose.branches[0].segments[1].id == strict.branches[0].segments[1].id
    assert {path: path.stat().st_mtime_ns for path in node_markers(loose, 1)} == before
    assert [path.stat().st_mtime_ns for path in sorted(related.iterdir())] == times
    by_cut = [table.filter(pl.col("reason") == "SemanticDedup.duplicate") for table in (few, many)]
    assert by_cut[0].height < by_cut[1].height
    assert (by_cut[1]["semantic_similarity"] >= cut).all()
    entered = many.filter(
        ~pl.col("node").is_in(["ParquetSource", "ShortSide", "PerceptualDedup"]) | pl.col("node").is_null()
    )
    kept = entered.filter(pl.col("reason").ne_missing("SemanticDedup.duplicate"))["semantic_similarity"].drop_nulls()
    assert kept.len() > 10
    assert (kept < cut).all()
    scores = json.loads((loose.out / "manifest.json").read_text())["recipe"]["branches"][0]["operators"]
    assert [operator["name"] for operator in scores][-2:] == ["ClusterBalance", "Balance[licence]"]


@pytest.mark.parametrize("name", ["PerceptualDedup", "SemanticDedup", "ClusterBalance"])
def test_bounds_are_no_part_of_a_signature(name: str) -> None:
    embed = ColourEmbedding()
    pairs = {
        "PerceptualDedup": (PerceptualDedup(), PerceptualDedup(bits=3, detail=0.95)),
        "SemanticDedup": (SemanticDedup(embed=embed), SemanticDedup(embed=embed, cosine=0.99)),
        "ClusterBalance": (
            ClusterBalance(embed=embed, clusters=4, quota=1),
            ClusterBalance(embed=embed, clusters=5, quota=2),
        ),
    }
    one, other = pairs[name]
    assert one.signature_settings() == other.signature_settings()
    assert one.settings() != other.settings()
