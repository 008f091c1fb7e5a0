"""Several ranks on gloo against one process: the same losses, gradients and checkpoints.

One step is held to 1e-5. Over several steps Adam divides by the root of the second moment, which for weights that
hardly matter is all rounding, so that losses are held to 1e-4 there.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from rank_gradients import TRAINS, Case, fresh, made_pack
from rank_gradients import run as run_case
from trainer_shards import Made, colour_sample, text_sample, write_dataset

from trainer.checkpoint import latest
from trainer.start import fresh_model
from trainer.world import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"), mesh=None)

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


def launch(ranks: int, *command: str) -> None:
    """Run a module or script on several ranks."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    paths = f"{Path(__file__).parents[2]}:{Path(__file__).parent}"
    done = subprocess.run(
        [*start, *command],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def reference(case: Case) -> dict[str, torch.Tensor]:
    """Plain cross-entropy of the logits of all packs in one process, and autograd's gradients."""
    model = fresh(case)
    batches = [made_pack(number) for number in range(case.packs)]
    logits = torch.cat([model.logits(batch)[batch.predictors] for batch in batches])
    loss = F.cross_entropy(logits, torch.cat([batch.labels[batch.predictors + 1] for batch in batches]))
    loss.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    norm = torch.cat([gradient.double().flatten() for gradient in found.values()]).norm()
    return {"loss": loss.detach(), "norm": norm, **found}


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "replicas"), [(1, 1), (2, 1), (4, 1), (4, 2)])
def test_losses_and_gradients_equal_one_process(tmp_path: Path, ranks: int, replicas: int) -> None:
    """With accumulation of 1 and 4; every third pack holds pictures, so that most ranks see text alone."""
    cases = [Case(trains=trains, packs=ranks * accumulation) for trains in TRAINS for accumulation in (1, 4)]
    cases = cases if replicas == 1 else cases[:2]
    cases.append(Case(trains="everything", packs=ranks, recompute=True))
    if ranks == 1:
        found = [run_case(case, ALONE) for case in cases]
    else:
        (tmp_path / "cases.json").write_text(json.dumps([asdict(case) for case in cases]))
        script = str(Path(__file__).with_name("rank_gradients.py"))
        launch(ranks, script, str(tmp_path / "cases.json"), str(tmp_path / "found.pt"), str(replicas))
        found = torch.load(tmp_path / "found.pt")
    for case, values in zip(cases, found, strict=True):
        wanted = reference(case)
        assert set(values) >= set(wanted), case
        for name, value in wanted.items():
            error = (values[name].double() - value.double()).norm() / value.double().norm()
            assert error < 1e-5, (case, name, float(error))


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
