"""The recipes over a tree of miniature corpora, one per dataset that the paper names, each in its published format."""

import json
import math
from pathlib import Path

import polars as pl
import pytest
from mini_corpora import WRITERS, write_corpora
from run_checks import ledger

from curation.shards import ShardReader, open_dataset
from pipelines.cli import main
from pipelines.doctor import examine
from pipelines.recipe import load_recipe
from pipelines.recipes.corpora import CORPORA, corpora_of
from pipelines.recipes.stages import TOTALS, stage_shares
from trainer.cli import main as train

# What tables 1 to 4 print, in thousands of samples; stage 2's text is what its total leaves.
PRINTED = {
    "stage1": {"scene_image": 11_840, "scene_text": 930, "document": 2_800},
    "stage2": {"scene_image": 12_560, "scene_text": 4_690, "document": 2_680, "chart": 40, "fine_grained": 1_000, "text": 1_000},
    "stage3": {
        "image_general": 9_870, "document": 1_310, "chart": 1_000, "ocr": 830, "grounding": 500, "multi_image": 410, "text": 2_210,
        "video": 2_920,
    },
    "stage4": {"video": 3_030, "streaming": 36.2, "temporal_grounding": 210, "image_only": 880, "text": 1_560},
}  # fmt: skip
STAGES = tuple(PRINTED)
# Samples per stage that the tree has enough for.
ENOUGH = {"stage1": 200, "stage2": 240, "stage3": 240, "stage4": 300}


def enough() -> dict[str, int]:
    """Samples of each corpus, so that every stage finds what its shares ask for."""
    counts = dict.fromkeys(WRITERS, 3)
    for stage, total in ENOUGH.items():
        shares = stage_shares(stage)
        for corpus, use in corpora_of(stage):
            counts[corpus.name] = max(counts[corpus.name], math.ceil(1.05 * total * shares[corpus.branch(use)]) + 3)
    return counts


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mini")
    write_corpora(root, enough())
    return root


def test_there_is_a_row_per_dataset_of_the_paper() -> None:
    assert len(CORPORA) >= 84
    assert set(WRITERS) == {corpus.name for corpus in CORPORA}
    assert [len(corpora_of(stage)) for stage in STAGES] == [7, 34, 39, 27]
    for corpus in CORPORA:
        assert corpus.title, corpus.name
        assert corpus.home, corpus.name
        assert corpus.layout, corpus.name
        assert corpus.size > 0, corpus.name
        assert all(use.category in PRINTED[stage] for use in corpus.uses for stage in use.stages), corpus.name


@pytest.fixture(scope="module", params=STAGES)
def dataset(request: pytest.FixtureRequest, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp(request.param)
    arguments = ["--data", str(tree), "--out", str(out), "--budget", str(ENOUGH[request.param])]
    # Reports of many branches, of pictures and of streams; the stages between have nothing that these have not.
    report = [] if request.param in ("stage1", "stage4") else ["--no-report"]
    assert main(["run", request.param, *arguments, "--workers", "0", "--quiet", *report]) == 0
    return request.param, out


@pytest.mark.slow
def test_every_corpus_has_its_share(dataset: tuple[str, Path]) -> None:
    stage, out = dataset
    mixture = json.loads((out / "manifest.json").read_text())["mixture"]
    rows = ledger(out).filter(decision="kept")
    names = {corpus.branch(use): use.category for corpus, use in corpora_of(stage)}
    counted = dict(rows.group_by("branch").len().iter_rows())
    assert set(counted) == set(names)
    assert rows.height == pytest.approx(ENOUGH[stage], abs=8)  # a quota rounds down
    printed = PRINTED[stage]
    for category, amount in printed.items():
        realised = sum(count for name, count in counted.items() if names[name] == category) / rows.height
        assert realised == pytest.approx(amount / sum(printed.values()), abs=0.01), category
    for name, share in expected(mixture["asked"], names, rows.height).items():
        assert counted[name] / rows.height == pytest.approx(share, abs=0.01), name
    assert sum(mixture["asked"].values()) == pytest.approx(1, abs=1e-4)


def expected(asked: dict[str, float], categories: dict[str, str], total: int) -> dict[str, float]:
    """Shares as asked, but one sample at least of every corpus, taken from the larger ones of its category."""
    shares = dict(asked)
    for category in set(categories.values()):
        members = [name for name in asked if categories[name] == category]
        whole = sum(asked[name] for name in members)
        small = {name for name in members if asked[name] * total < 1}
        rest = sum(asked[name] for name in members if name not in small)
        for name in members:
            shares[name] = 1 / total if name in small else asked[name] / rest * (whole - len(small) / total)
    return shares


@pytest.mark.slow
def test_bad_records_are_quarantined_and_nothing_else(dataset: tuple[str, Path]) -> None:
    stage, out = dataset
    rows = ledger(out).filter(decision="quarantined")
    lost = dict(rows.group_by("branch").len().iter_rows())
    for corpus, use in corpora_of(stage):
        # Too dense a stream is no sample and no fault; tables of the first bad record are one more.
        wanted = 0 if corpus.name == "ego4d_narration" else 1
        assert lost.get(corpus.branch(use), 0) - wanted in (
            0,
            use.suffix == "stream" and corpus.name == "ego4d_narration",
        ), (
            corpus.name,
            rows.filter(branch=corpus.branch(use)).select("node", "origin").rows(),
        )


@pytest.mark.slow
def test_shards_are_sound_and_the_trainer_takes_them(dataset: tuple[str, Path]) -> None:
    stage, out = dataset
    assert main(["verify", str(out)]) == 0
    assert train(["plan", stage, "--shards", str(out), "--world-size", "2", "--model", "tiny"]) == 0


@pytest.mark.slow
def test_samples_show_what_their_category_is_about(dataset: tuple[str, Path]) -> None:
    stage, out = dataset
    categories = {corpus.branch(use): use.category for corpus, use in corpora_of(stage)}
    mixed = {"llava_sft_665k", "llava_ov_si"}  # a part of these is text only
    kinds: dict[str, set[tuple[str, ...]]] = {}
    for shard in open_dataset(out)[1]:
        for sample in ShardReader(shard):
            kinds.setdefault(sample.fields["branch"], set()).add(tuple(m["kind"] for m in sample.fields["media"]))
    for name, found in kinds.items():
        category = categories[name]
        wanted = {
            "text": {()},
            "video": {("video",)},
            "streaming": {("video",)},
            "temporal_grounding": {("video",)},
        }.get(category)
        if wanted:
            assert found == wanted, name
        else:
            assert all(kind and set(kind) == {"image"} for kind in found - ({()} if name in mixed else set())), name
        if category == "multi_image":
            assert all(len(kind) > 1 for kind in found), name


def test_doctor_reads_every_corpus(tree: Path) -> None:
    findings = examine(str(tree), samples=4)
    assert len(findings) == sum(len(corpus.uses) for corpus in CORPORA)
    assert [str(f) for f in findings if not f.there or f.bad > 1 or f.tried == 0] == []
    assert main(["doctor", "--data", str(tree), "--stage", "stage1", "--samples", "2"]) == 0


def test_doctor_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpora(tmp_path, {"chartqa": 3, "docvqa": 3, "rects": 3})
    for picture in (tmp_path / "docvqa/documents").iterdir():
        picture.unlink()
    (tmp_path / "chartqa/train/train_human.json").unlink()
    (tmp_path / "chartqa/train/train_augmented.json").unlink()
    findings = {finding.branch: finding for finding in examine(str(tmp_path))}
    assert "4 of 4 cannot be read" in findings["docvqa"].fault
    assert "nothing to read" in findings["chartqa"].fault
    assert findings["rects"].fault == ""
    assert (findings["rects"].samples, findings["rects"].tried, findings["rects"].bad) == (4, 4, 1)
    assert not findings["plotqa"].there
    assert main(["doctor", "--data", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "documents/" in told
    assert "3 of" in told


@pytest.mark.slow
def test_a_missing_corpus_is_named_and_stops_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_corpora(data, {"llava_pretrain": 12, "blip3_ocr": 3, "synthdog_en": 3, "pdfa_eng_wds": 4})
    assert main(["plan", "stage1", "--data", str(data)]) == 0
    assert "missing sa1b: no folder sa1b/" in capsys.readouterr().out
    run = ["run", "stage1", "--data", str(data), "--out", str(out), "--workers", "0", "--quiet", "--no-report"]
    assert main(run) == 2
    assert "4 of its corpora cannot be read" in capsys.readouterr().err
    assert not (out / "manifest.json").exists()
    assert main([*run, "--allow-missing"]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(manifest["recipe"]["missing"]) == {"vl3_syn7m", "objects365", "sa1b", "idl_wds"}
    # What is there keeps the proportions of its categories.
    assert manifest["mixture"]["asked"] == pytest.approx(
        {"llava_pretrain": 11.84 / 15.57, "blip3_ocr": 0.93 / 15.57, "pdfa_eng_wds": 2.8 / 15.57}, abs=1e-5
    )


def test_no_sample_is_both_trained_on_and_held_out(tree: Path) -> None:
    """Each side of the split over the same corpora: the same picture or text never stands on both."""
    from curation.filters import HeldOut

    kept: dict[str, set[str]] = {}
    for name in ("stage3", "stage3_validation"):
        recipe = load_recipe(name, str(tree))
        chains = [b for b in recipe.branches if b.name in ("cambrian", "numinamath", "docmatix")]
        assert all(isinstance(chain.nodes[0].operator, HeldOut) for chain in chains)
        assert {chain.nodes[0].operator.side for chain in chains} == {"validation" if name.endswith("n") else "train"}
        kept[name] = {chain.name for chain in chains}
    assert kept["stage3"] == kept["stage3_validation"]


def test_what_the_paper_tells_of_a_corpus_is_its_share() -> None:
    first, second = stage_shares("stage1"), stage_shares("stage2")
    assert first["vl3_syn7m"] * 15.57 == pytest.approx(7)
    assert first["llava_pretrain"] * 15.57 == pytest.approx(0.558, abs=1e-3)
    assert second["vl3_syn7m"] * 21.97 == pytest.approx(7)
    assert second["laion_ocr"] * 21.97 == pytest.approx(3)
    # Of the rest each corpus has a part by its published size: 11.2 M of SA-1B, 1.7 M of Objects365.
    assert first["sa1b"] / first["objects365"] == pytest.approx(11_185_362 / 1_742_289)


def test_the_tables_add_up_to_the_published_totals() -> None:
    totals = {"stage1": 15_570, "stage2": 21_970, "stage3": 19_050, "stage4": 5_716.2}
    assert {stage: sum(printed.values()) for stage, printed in PRINTED.items()} == pytest.approx(totals)
    assert {s: {c: round(1000 * v, 1) for c, v in t.items()} for s, t in TOTALS.items()} == PRINTED


@pytest.mark.slow
def test_measures_of_the_ledger_hold_the_held_out(dataset: tuple[str, Path]) -> None:
    _, out = dataset
    rows = ledger(out)
    assert rows.filter(pl.col("decision") == "kept")["HeldOut"].min() >= 0.005  # pyright: ignore
    held = rows.filter(reason="HeldOut.below")
    assert (held["HeldOut"] < 0.005).all()
