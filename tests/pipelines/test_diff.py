"""What changed between two runs equals what set arithmetic over their ledgers says."""

import json
from pathlib import Path

import polars as pl
import pytest
from run_checks import build, ledger

from curation.filters import Words
from curation.select import ExactDedup
from curation.sources import JsonlSource
from pipelines.cli import main
from pipelines.diff import ABSENT, dataset_diff
from pipelines.plan import make_plan
from pipelines.recipe import Recipe, branch


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Over the second, two documents more, a stricter bound and no dedup."""
    root = tmp_path_factory.mktemp("diff")
    texts = [" ".join(["word"] * (i % 12) + [f"end{i // 2}"]) for i in range(60)] + [
        "the same again and again and again"
    ] * 3
    data = root / "text.jsonl"
    outs = []
    for name, count, low, operators in (("a", 61, 3, (ExactDedup(by="text"),)), ("b", 63, 6, ())):
        data.write_text("".join(json.dumps({"id": f"d{i}", "text": t}) + "\n" for i, t in enumerate(texts[:count])))
        recipe = Recipe(
            stage="stage1", branches=(branch("text", JsonlSource(str(data), id="id"), Words(low=low), *operators),)
        )
        build(make_plan(recipe, root / name))
        outs.append(root / name)
    return outs[0], outs[1]


def test_gained_and_lost_samples_are_those_of_the_ledgers(runs: tuple[Path, Path]) -> None:
    facts = dataset_diff(*runs)
    left, right = (ledger(out) for out in runs)
    kept = [set(table.filter(decision="kept")["id"]) for table in (left, right)]
    assert facts["kept"] == [len(kept[0]), len(kept[1])]
    for name, mine, theirs, other in (("lost", kept[0], kept[1], right), ("gained", kept[1], kept[0], left)):
        alone = mine - theirs
        assert sum(row["samples"] for row in facts[name]) == len(alone)
        fate = dict(other.select("id", pl.coalesce("reason", "decision")).iter_rows())
        for row in facts[name]:
            assert row["samples"] == sum(fate.get(i, ABSENT) == row["fate"] for i in alone)
            assert all(fate.get(i, ABSENT) == row["fate"] and i in alone for i in row["id"])
    assert not facts["same"]


def test_settings_that_changed_are_named(runs: tuple[Path, Path]) -> None:
    recipe = dataset_diff(*runs)["recipe"]
    assert recipe["branches.text.operators.Words.low"] == [3, 6]
    assert recipe["branches.text.operators.ExactDedup[text]"][1] is None
    assert not any("source" in path for path in recipe)


def test_counts_that_changed_add_up(runs: tuple[Path, Path]) -> None:
    facts = dataset_diff(*runs)
    left, right = (ledger(out) for out in runs)
    assert sum(row["change"] for row in facts["counts"]) == right.height - left.height
    for row in facts["counts"]:
        fates = [pl.coalesce("reason", "decision") == row["fate"]]
        assert (row["before"], row["after"]) == (left.filter(fates).height, right.filter(fates).height)


def test_a_run_does_not_differ_from_itself(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    facts = dataset_diff(runs[0], runs[0])
    assert facts["same"]
    assert [facts[name] for name in ("recipe", "counts", "gained", "lost", "scores")] == [{}, [], [], [], []]
    assert main(["diff", str(runs[0]), str(runs[1])]) == 0
    printed = capsys.readouterr().out
    assert "operators.Words.low" in printed
    assert "gained" in printed
    assert main(["diff", str(runs[0]), str(runs[1]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == dataset_diff(*runs)


def test_scores_that_changed_are_counted(runs: tuple[Path, Path], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(runs[0], tmp_path / "copy")
    (path,) = (tmp_path / "copy" / "ledger").glob("*.parquet")
    table = pl.read_parquet(path)
    table.with_columns(
        pl.when(pl.col("Words") > 8).then(pl.col("Words") + 2).otherwise("Words").alias("Words")
    ).write_parquet(path)
    (row,) = dataset_diff(runs[0], tmp_path / "copy")["scores"]
    assert row == {
        "score": "Words",
        "measured in both": table.height,
        "changed": (table["Words"] > 8).sum(),
        "largest change": 2.0,
    }
