"""The four guarantees: conservation, identity, isolation, explainability."""

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
import webdataset
from run_checks import SAMPLES, build, digests, ledger

from curation.filters import AspectRatio, Decodable, ShortSide
from curation.operator import OperatorError, PartLimits, RecipeError
from curation.select import ExactDedup
from curation.shards import open_dataset
from curation.sources import ParquetSource
from pipelines.cli import main
from pipelines.local import InProcess
from pipelines.plan import Plan, make_plan
from pipelines.recipe import Mixture, Recipe, ShardLimits, branch
from pipelines.recipes import RECIPES
from pipelines.verify import verify_dataset

PlanOf = Callable[..., Plan]


@pytest.fixture(scope="module")
def dataset(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo recipe, built by two worker processes through the command line."""
    out = tmp_path_factory.mktemp("dataset")
    arguments = [
        "run",
        "demo",
        "--data",
        str(corpora),
        "--out",
        str(out),
        "--workers",
        "2",
        "--part-rows",
        "40",
        "--quiet",
    ]
    assert main(arguments) == 0
    return out


def test_every_sample_read_stands_once_in_the_ledger(dataset: Path) -> None:
    rows = ledger(dataset)
    assert rows["id"].n_unique() == rows.height
    # Broken lines count too; a tar or JSONL yields as many samples as were written into it.
    assert rows.height == SAMPLES
    assert set(rows["decision"].unique()) == {"kept", "dropped", "quarantined"}
    kept, lost = rows.filter(pl.col("decision") == "kept"), rows.filter(pl.col("decision") != "kept")
    assert kept["shard"].null_count() == 0
    assert kept["reason"].null_count() == kept.height
    assert lost["reason"].null_count() == 0
    assert lost["shard"].null_count() == lost.height


def test_nodes_add_up_to_the_ledger(dataset: Path) -> None:
    report = json.loads((dataset / "report.json").read_text())
    rows = ledger(dataset)
    for name, nodes in report["branches"].items():
        mine = rows.filter(pl.col("branch") == name)
        assert nodes[0]["seen"] == mine.height
        for node, after in zip(nodes, [*nodes[1:], None], strict=True):
            ended = mine.filter(pl.col("node") == node["node"]).height
            assert node["seen"] - node["kept"] == ended
            assert after is None or after["seen"] == node["kept"]


def test_planted_defects_end_for_their_own_reason(dataset: Path, corpora: Path) -> None:
    """The synthetic corpora record what they spoilt; each kind must have been found by the node that is there for it."""
    truth = [json.loads(line) for line in (corpora / "truth.jsonl").read_text().splitlines()]
    wanted = {
        "truncated_image": {"Decodable.error"},
        "bomb_image": {"ParquetSource.error"},
        "extreme_aspect": {"AspectRatio.above"},
        "empty_caption": {"Words.below"},
        "not_utf8": {"ParquetSource.error", "JsonlSource.error"},
        "missing_media": {"ConversationSource.error"},
        "two_tags": {"ConversationSource.error"},
        "truncated_video": {"WebDatasetSource.error", "Frames.error", "Count.error"},
    }
    reasons = dict(ledger(dataset).select("origin", "reason").iter_rows())
    found = Counter[str]()
    for entry in truth:
        if entry["defect"] in wanted and entry["name"] in reasons:
            assert reasons[entry["name"]] in wanted[entry["defect"]], entry
            found[entry["defect"]] += 1
    assert len(found) >= 4, f"the corpora planted too little to tell: {found}"


# webdataset leaves the closing of its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_webdataset_reads_every_shard_and_finds_every_key_once(dataset: Path) -> None:
    manifest, shards = open_dataset(dataset)
    keys = [
        sample["__key__"]
        for path in shards
        for sample in webdataset.WebDataset(str(path), shardshuffle=False, handler=webdataset.reraise_exception)
    ]
    indexed = [
        key
        for path in shards
        for key in pq.read_table(path.with_suffix("").with_suffix(".index.parquet"))["key"].to_pylist()
    ]
    assert sorted(keys) == sorted(set(keys)) == sorted(indexed)
    assert len(keys) == sum(entry.samples for entry in manifest.shards)


def test_verify_finds_no_fault_and_names_a_flipped_byte(dataset: Path, tmp_path: Path) -> None:
    assert [fault for _, fault in verify_dataset(dataset) if fault] == []
    copy = tmp_path / "copy"
    (copy / "shards").mkdir(parents=True)
    for path in [dataset / "manifest.json", *(dataset / "shards").iterdir()]:
        (copy / path.relative_to(dataset)).write_bytes(path.read_bytes())
    shard = copy / "shards" / "000000.tar"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    faults = [fault for _, fault in verify_dataset(copy) if fault]
    assert any("000000.tar" in fault and "sha256" in fault for fault in faults)
    assert main(["verify", str(copy)]) == 1


def test_workers_change_no_byte(dataset: Path, demo_dataset: Path) -> None:
    """Two of them, started by the command line, against the very process that asks."""
    assert digests(demo_dataset) == digests(dataset)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "rows"), [(2, 7), (1, 10_000)])
def test_part_sizes_change_no_byte(dataset: Path, plan_of: PlanOf, tmp_path: Path, workers: int, rows: int) -> None:
    build(plan_of(tmp_path, rows=rows), workers=workers)
    assert digests(tmp_path) == digests(dataset)


@pytest.mark.ray
@pytest.mark.slow
def test_ray_gives_the_same_bytes(dataset: Path, plan_of: PlanOf, tmp_path: Path) -> None:
    build(plan_of(tmp_path), executor="ray", workers=2)
    assert digests(tmp_path) == digests(dataset)


@pytest.mark.parametrize(("executor", "workers"), [("ray", 0), ("local", -1)])
def test_a_run_that_nobody_would_work_on_is_refused(
    plan_of: PlanOf, tmp_path: Path, executor: str, workers: int
) -> None:
    with pytest.raises(RecipeError, match=f"{workers} workers: wanted one at least"):
        build(plan_of(tmp_path / "out"), executor=executor, workers=workers)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_what_no_worker_takes_is_never_called_a_dataset(
    dataset: Path, plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(InProcess, "free", lambda *_: next(asked) < 5)
        with pytest.raises(OperatorError, match=r"no worker takes what is left .* x pass"):
            build(plan_of(tmp_path))
    assert not (tmp_path / "manifest.json").exists()
    build(plan_of(tmp_path))
    assert digests(tmp_path) == digests(dataset)


def test_a_second_run_does_nothing(dataset: Path, corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {
        path: path.stat().st_mtime_ns for path in dataset.rglob("*") if path.is_file() and path.name != "driver.lock"
    }
    assert main(["run", "demo", "--data", str(corpora), "--out", str(dataset), "--part-rows", "40", "--quiet"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def image_recipe(data: Path, *, ratio: float, side: int) -> Recipe:
    images = branch(
        "images",
        ParquetSource(f"{data}/image_text-*.parquet", texts="texts", id="id"),
        AspectRatio(high=ratio),
        ShortSide(low=side),
        Decodable(),
        ExactDedup(by="bytes"),
    )
    return Recipe(stage="stage1", branches=(images,))


@pytest.fixture(scope="module")
def loose(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images with a loose bound; tests that change something copy it."""
    return images(corpora, tmp_path_factory.mktemp("loose"), side=28)


@pytest.fixture(scope="module")
def tight(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images with a tight bound."""
    return images(corpora, tmp_path_factory.mktemp("tight"), side=150)


def images(corpora: Path, out: Path, *, side: int) -> Path:
    recipe = image_recipe(corpora, ratio=3.0, side=side)
    result = build(make_plan(recipe, out, data=str(corpora), limits=PartLimits(rows=40)))
    assert result.counters["media_decoded"] > 0
    return out


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a copy goes."""
    return tmp_path / "out"


def test_a_tighter_bound_reads_no_media_again(
    loose: Path, tight: Path, corpora: Path, plan_of: PlanOf, out: Path
) -> None:
    shutil.copytree(loose, out)
    tighter = build(plan_of(out, image_recipe(corpora, ratio=3.0, side=150)))
    assert tighter.counters.get("media_read", 0) == 0
    assert digests(out) == digests(tight)
    assert ledger(out).sort("id").equals(ledger(tight).sort("id"))


def test_a_looser_bound_measures_only_what_it_lets_in(tight: Path, corpora: Path, plan_of: PlanOf, out: Path) -> None:
    shutil.copytree(tight, out)
    before = ledger(out).filter(pl.col("reason") == "ShortSide.below").height
    looser = build(plan_of(out, image_recipe(corpora, ratio=3.0, side=28)))
    after = ledger(out).filter(pl.col("reason") == "ShortSide.below").height
    assert before > after
    assert looser.counters["media_read"] == before - after


def test_going_back_to_an_earlier_recipe_restores_its_dataset(
    loose: Path, corpora: Path, plan_of: PlanOf, out: Path
) -> None:
    """Shards of two recipes have the same names; a commit whose files were overwritten is no longer done."""
    shutil.copytree(loose, out)
    first = digests(out)
    build(plan_of(out, image_recipe(corpora, ratio=3.0, side=150)))
    assert digests(out) != first
    back = build(plan_of(out, image_recipe(corpora, ratio=3.0, side=28)))
    assert digests(out) == first
    assert not back.nothing_to_do


def test_a_damaged_commit_is_done_again(loose: Path, corpora: Path, plan_of: PlanOf, out: Path) -> None:
    shutil.copytree(loose, out)
    plan = plan_of(out, image_recipe(corpora, ratio=3.0, side=28))
    (out / "manifest.json").unlink()
    tables = sorted((out / "work" / plan.branches[0].segments[0].id).glob("*.parquet"))
    tables[0].write_bytes(tables[0].read_bytes()[:-7])
    (out / "shards" / "000000.tar").write_bytes(b"")
    build(plan)
    assert digests(out) == digests(loose)


def test_a_run_without_its_report_leaves_none_of_an_earlier_run(
    demo_dataset: Path, loose: Path, corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not (loose / "report.html").exists()
    out = tmp_path / "out"
    shutil.copytree(demo_dataset, out)
    arguments = ["run", "demo", "--data", str(corpora), "--out", str(out), "--part-rows", "40", "--workers", "0"]
    assert main([*arguments, "--limit", "5", "--quiet", "--no-report"]) == 0
    assert not (out / "report.html").exists()
    assert f"vl3-curate report {out}" in capsys.readouterr().out


@pytest.mark.slow
def test_small_shards_hold_the_same_samples(dataset: Path, corpora: Path, plan_of: PlanOf, tmp_path: Path) -> None:
    recipe = replace(RECIPES["demo"](str(corpora)), shards=ShardLimits(samples=10, tokens=6000, bytes=1 << 20))
    manifest = build(plan_of(tmp_path, recipe)).manifest
    assert len(manifest.shards) > 5
    assert max(entry.samples for entry in manifest.shards) <= 10
    kept = [set(ledger(out).filter(pl.col("decision") == "kept")["id"]) for out in (tmp_path, dataset)]
    assert kept[0] == kept[1]


@pytest.mark.slow
def test_a_mixture_is_met_and_what_goes_over_is_named(corpora: Path, plan_of: PlanOf, tmp_path: Path) -> None:
    recipe = RECIPES["demo"](str(corpora))
    recipe = replace(
        recipe, branches=recipe.branches[:2], mixture=Mixture(weights={"image_text": 3, "documents": 1}, budget=16)
    )
    manifest = build(plan_of(tmp_path, recipe)).manifest
    assert {name: counts["samples"] for name, counts in manifest.branches.items()} == {"image_text": 12, "documents": 4}
    assert manifest.mixture["samples"] == {"image_text": 0.75, "documents": 0.25}
    rows = ledger(tmp_path)
    assert rows.filter(pl.col("decision") == "kept").height == 16
    assert rows.filter(pl.col("reason") == "Mixture.quota").height > 0


def test_explain_tells_score_reason_and_survivor(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twin = ledger(dataset).filter(pl.col("duplicate_of").is_not_null()).row(0, named=True)
    assert main(["explain", str(dataset), twin["origin"]]) == 0
    said = capsys.readouterr().out
    assert twin["reason"] in said
    assert twin["duplicate_of"] in said
    assert main(["explain", str(dataset), "no such sample"]) == 1


def test_explain_lists_no_operator_for_a_sample_that_its_source_could_not_read(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = (
        ledger(dataset).filter(pl.col("reason").is_in(["ParquetSource.error", "JsonlSource.error"])).row(0, named=True)
    )
    assert main(["explain", str(dataset), bad["id"]]) == 0
    said = capsys.readouterr().out
    assert bad["reason"] in said
    assert "NormalizeTurns" not in said


def test_the_manifest_names_no_place_of_the_data(loose: Path, corpora: Path, plan_of: PlanOf, tmp_path: Path) -> None:
    """The same corpora at another place give the same manifest, and only paths are rewritten."""
    other = tmp_path / "e"
    other.mkdir()
    for path in corpora.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    out = tmp_path / "second"
    build(replace(plan_of(out, image_recipe(other, ratio=3.0, side=28)), data=str(other)))
    assert digests(loose) == digests(out)
    assert str(tmp_path) not in (out / "manifest.json").read_text()
