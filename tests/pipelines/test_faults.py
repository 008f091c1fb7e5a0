"""Three in the morning: killed drivers, hung and crashing decoders, a full disk, a second driver, a source that is rotten."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from run_checks import build, digests, ledger

from curation.operator import OperatorError
from pipelines.lock import only_driver
from pipelines.plan import Plan
from pipelines.recipes import RECIPES

PlanOf = Callable[..., Plan]

# A recipe file with operators of its own, as a user writes one. Which sample misbehaves is known by its id.
RECIPE = """
import os, time
from dataclasses import dataclass
from curation.filters import Words
from curation.operator import Filter
from curation.sources import JsonlSource
from pipelines.recipe import Recipe, branch

@dataclass(frozen=True, kw_only=True)
class Treacherous(Filter):
    how: str

    def measure(self, batch):
        return batch.measure_each(lambda index: self._one(batch.samples[index].origin.name))

    def _one(self, name):
        if name == "text_7":
            if self.how == "hang":
                time.sleep(1e6)
            if self.how == "abort":
                os.abort()
            if self.how == "raise":
                return 1 / 0
        return 1.0

def hang(data): return build(data, "hang")
def abort(data): return build(data, "abort")
def fail(data): return build(data, "raise")
def build(data, how):
    source = JsonlSource(f"{data}/text.jsonl", id="id")
    return Recipe(stage="stage2", branches=(branch("text", source, Treacherous(how=how), Words(low=1)),))
"""


def curate(*arguments: str) -> subprocess.Popen[bytes]:
    """vl3-curate as its own process group, so that a kill takes the driver alone or all, as the test wants."""
    command = [sys.executable, "-m", "pipelines", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def finish(process: subprocess.Popen[bytes]) -> str:
    output, _ = process.communicate(timeout=240)
    return output.decode()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Forty text samples and the treacherous recipe."""
    lines = [f'{{"id": "text_{i}", "text": "document number {i} says little"}}' for i in range(40)]
    (tmp_path / "text.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "recipe.py").write_text(RECIPE)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "error", "says"), [("abort", "WorkerDied", "SIGABRT"), ("raise", "ZeroDivisionError", "_one")]
)
def test_a_sample_that_breaks_its_operator_costs_only_itself(texts: Path, how: str, error: str, says: str) -> None:
    function = {"abort": "abort", "raise": "fail"}[how]
    out = texts / "out"
    process = curate(
        "run",
        f"{texts}/recipe.py:{function}",
        "--data",
        str(texts),
        "--out",
        str(out),
        "--workers",
        "1",
        "--quiet",
        "--no-report",
    )
    assert process.wait(120) == 0, finish(process)
    finish(process)
    rows = ledger(out)
    assert rows.filter(pl.col("decision") == "kept").height == 39
    bad = pl.read_parquet(next((out / "quarantine").iterdir()))
    assert bad.select("origin", "node", "error").rows() == [("text_7", "Treacherous", error)]
    assert says in bad["message"][0]


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_hung_decoder_is_found_and_named(texts: Path, executor: str) -> None:
    out = texts / "out"
    start = time.monotonic()
    process = curate(
        "run", f"{texts}/recipe.py:hang", "--data", str(texts), "--out", str(out), "--executor", executor, "--workers", "1",
        "--sample-seconds", "2", "--quiet", "--no-report",
    )  # fmt: skip
    assert process.wait(120) == 0, finish(process)
    finish(process)
    assert time.monotonic() - start < 60
    bad = pl.read_parquet(next((out / "quarantine").iterdir()))
    assert bad.select("origin", "node", "error").rows() == [("text_7", "Treacherous", "WorkerDied")]
    assert "stood still" in bad["message"][0]
    assert ledger(out).filter(pl.col("decision") == "kept").height == 39


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_killed_three_times_and_resumed_gives_the_same_bytes(
    corpora: Path, demo_dataset: Path, tmp_path: Path, executor: str
) -> None:
    want = digests(demo_dataset)  # uninterrupted
    out = tmp_path / "killed"
    arguments = (
        "run",
        "demo",
        "--data",
        str(corpora),
        "--out",
        str(out),
        "--executor",
        executor,
        "--workers",
        "2",
        "--part-rows",
        "10",
        "--quiet",
        "--no-report",
    )
    draw = random.Random(5)
    for _ in range(3):
        process = curate(*arguments)
        time.sleep(draw.uniform(2.0, 6.0))
        process.send_signal(signal.SIGKILL)  # the driver alone: its workers must notice by themselves
        finish(process)
        assert digests(out) == want if (out / "manifest.json").exists() else True
    process = curate(*arguments)
    assert process.wait(200) == 0, finish(process)
    finish(process)
    assert digests(out) == want
    assert not list(out.rglob("*.tmp"))


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_room_resumes_it(plan_of: PlanOf, demo_dataset: Path, tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for the disk: writes beyond it fail like those on a full one."""
    plan = plan_of(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        with pytest.raises(OperatorError, match="make room"):
            build(plan, workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert not (tmp_path / "manifest.json").exists()
    assert not list((tmp_path / "shards").glob("*.tar")) if (tmp_path / "shards").exists() else True
    build(plan, workers=1)
    assert digests(tmp_path) == digests(demo_dataset)


def test_a_second_driver_is_refused_and_told_who_is_there(plan_of: PlanOf, tmp_path: Path) -> None:
    with only_driver(tmp_path), pytest.raises(OperatorError, match=f"process {os.getpid()}"):
        build(plan_of(tmp_path))


def test_a_rotten_source_stops_the_run_and_says_what_to_do(texts: Path) -> None:
    (texts / "text.jsonl").write_text("not json\n" * 60 + '{"id": "a", "text": "fine words here"}\n')
    process = curate("run", f"{texts}/recipe.py:fail", "--data", str(texts), "--out", str(texts / "out"), "--quiet")
    assert process.wait(120) == 3
    said = finish(process)
    assert "60 of 61 samples" in said
    assert "raise max_failures" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "stage9", "--data", ".", "--out", "o"), "stage9"),
        (("run", "stage1", "--data", "/nowhere", "--out", "o"), "/nowhere"),
        (("plan", "no_file.py:recipe", "--data", "."), "no_file.py"),
        (("stats", "/nowhere"), "/nowhere"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.cli import main

    assert main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert says in said
    assert "\n" not in said


@pytest.mark.slow
def test_quarantine_retry_tries_the_failed_samples_again(demo_dataset: Path, plan_of: PlanOf, tmp_path: Path) -> None:
    from pipelines.quarantine import forget_failures

    out = tmp_path / "out"
    shutil.copytree(demo_dataset, out)
    first = json.loads((out / "report.json").read_text())["counters"]
    before, lost = digests(out), ledger(out).filter(pl.col("decision") == "quarantined").height
    assert forget_failures(out) == lost > 0
    again = build(plan_of(out))
    assert not again.nothing_to_do
    assert digests(out) == before  # nothing was repaired, so nothing changes
    assert 0 < again.counters["media_decoded"] < first["media_decoded"]


def test_recipes_over_missing_corpora_are_refused(tmp_path: Path) -> None:
    from curation.operator import RecipeError
    from pipelines.plan import make_plan

    with pytest.raises(RecipeError, match="image_text"):
        make_plan(RECIPES["stage1"](str(tmp_path)), tmp_path / "out")
