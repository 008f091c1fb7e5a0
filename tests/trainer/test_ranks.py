"""Several ranks on gloo against one process: the same losses, gradients and checkpoints."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trainer_shards import Made, colour_sample, text_sample, write_dataset

from trainer.checkpoint import latest
from trainer.start import fresh_model

FLAGS = ["--pack-tokens", "256", "--pack-patches", "512", "--step-packs", "4", "--save-every", "3", "--keep", "9"]


def run(
    out: Path, shards: Path, *, ranks: int, steps: int = 6, stage: str = "stage3", extra: tuple[str, ...] = ()
) -> None:
    start = [sys.executable, "-m"]
    if ranks > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"]
    command = [
        *start,
        "trainer",
        "run",
        stage,
        "--shards",
        str(shards),
        "--out",
        str(out),
        "--steps",
        str(steps),
        *FLAGS,
        *extra,
    ]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-4000:]


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def assert_same(found: Path, wanted: Path) -> None:
    for one, two in zip(metrics(found), metrics(wanted), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
        assert one["grad_norm"] == pytest.approx(two["grad_norm"], rel=2e-3)
        for name in ("step", "tokens", "loss_tokens", "samples", "skipped"):
            assert one[name] == two[name], name


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts that fill a pack by themselves beside pictures: in most micro-steps one rank has no picture at all."""
    texts = [
        Made(branch="text", turns=[{"role": "assistant", "text": " ".join(["red box moves left"] * 45)}])
        for _ in range(24)
    ]
    return write_dataset(
        tmp_path_factory.mktemp("apart"), [*texts, *(colour_sample(n) for n in range(24)), text_sample(1)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_two_ranks_equal_one_process_also_where_one_has_text_only(apart: Path, tmp_path: Path, stage: str) -> None:
    """Started from a model directory, stage 1 keeps the language model frozen."""
    model, processor = fresh_model("tiny", seed=0)
    model.save_pretrained(tmp_path / "model", processor)
    started = ("--init", str(tmp_path / "model"))
    run(tmp_path / "one", apart, ranks=1, stage=stage, extra=started)
    run(tmp_path / "two", apart, ranks=2, stage=stage, extra=started)
    assert_same(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_ranks_that_do_not_divide_a_step_and_a_resume_with_other_ranks_equal_one_process(
    mixed: Path, tmp_path: Path
) -> None:
    run(tmp_path / "one", mixed, ranks=1, steps=6)
    run(tmp_path / "many", mixed, ranks=3, steps=6)
    assert_same(tmp_path / "many", tmp_path / "one")
    (tmp_path / "many" / "checkpoints" / "LATEST").write_text("step_3\n")
    run(tmp_path / "many", mixed, ranks=2, steps=6, extra=("--workers", "1"))
    assert_same(tmp_path / "many", tmp_path / "one")
    step = latest(tmp_path / "many")
    assert step is not None
    assert step.name == "step_6"


@pytest.mark.slow
def test_recomputation_changes_no_loss(mixed: Path, tmp_path: Path) -> None:
    run(tmp_path / "one", mixed, ranks=1, steps=3)
    run(tmp_path / "two", mixed, ranks=2, steps=3, extra=("--recompute", "all"))
    assert_same(tmp_path / "two", tmp_path / "one")
