import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_shards import Made, colour_image, colour_sample, text_sample, write_dataset

from model import VideoLLaMA3
from trainer.checkpoint import latest, read_progress
from trainer.cli import main
from trainer.errors import ContractError, RunError, UsageError
from trainer.evaluate import evaluate
from trainer.shard_file import open_shard
from trainer.stages import SMALL_STAGES
from trainer.start import read_model
from trainer.train import Settings, train

SMALL: dict[str, Any] = {"pack_tokens": 256, "pack_patches": 512, "step_packs": 2}
FLAGS = ["--pack-tokens", "256", "--pack-patches", "512", "--step-packs", "2"]


def settings(shards: Path, out: Path, **changes: Any) -> Settings:
    return Settings(**{"stage": "stage3", "shards": (shards,), "out": out, "steps": 6, "changes": SMALL, **changes})


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(out: Path) -> list[tuple[int, float, float]]:
    return [(line["step"], line["loss"], line["grad_norm"]) for line in metrics(out)]


@pytest.mark.slow
def test_a_stage_learns_the_colours_it_is_shown_and_hands_over(tmp_path: Path) -> None:
    shards = write_dataset(tmp_path / "shards", [colour_sample(n) for n in range(64)])
    train(settings(shards, tmp_path / "one", stage="stage1", steps=4, changes={**SMALL, "step_packs": 1}))
    train(
        settings(
            shards,
            tmp_path / "two",
            stage="stage2",
            steps=60,
            init=str(tmp_path / "one"),
            changes={**SMALL, "step_packs": 1},
        )
    )
    history = losses(tmp_path / "two")
    untrained = losses(tmp_path / "one")[0][1]
    assert untrained > 8.0  # the uniform guess over 4,096 tokens is 8.3
    assert history[0][1] < untrained - 1.0  # the second stage goes on from what the first has learnt
    assert max(loss for _, loss, _ in history[-5:]) < 0.6
    model, processor = read_model(tmp_path / "two")
    held_out = write_dataset(tmp_path / "held_out", [colour_sample(n) for n in range(1000, 1016)])
    scores = evaluate(model, processor, [held_out], SMALL_STAGES["stage2"], device=torch.device("cpu"))
    assert scores["image_text"].accuracy > 0.8
    assert scores["all"].tokens == scores["image_text"].tokens
    exported = VideoLLaMA3.from_pretrained(tmp_path / "two" / "model")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, dict(exported.named_parameters())[name]), name


def test_metrics_have_one_line_per_step_with_every_field(mixed: Path, tmp_path: Path) -> None:
    train(settings(mixed, tmp_path, steps=3))
    lines = metrics(tmp_path)
    wanted = [
        "step",
        "loss",
        "tokens",
        "loss_tokens",
        "samples",
        "lr",
        "grad_norm",
        "tokens_per_second",
        "mfu",
        "data_wait",
        "skipped",
        "loss_by_branch",
    ]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all(name in line for line in lines for name in wanted)
    assert set(lines[0]["loss_by_branch"]) <= {"image_text", "text"}
    assert list((tmp_path / "tensorboard").glob("events*"))


@pytest.mark.slow
def test_a_run_resumed_from_its_middle_gives_the_same_losses_bit_by_bit(mixed: Path, tmp_path: Path) -> None:
    stretches = {**SMALL, "stretch": 40}  # three of an epoch
    epochs = settings(mixed, tmp_path / "whole", steps=16, save_every=6, keep=9, changes=stretches)
    train(epochs)
    for step in (6, 12):
        part = tmp_path / f"from_{step}"
        shutil.copytree(tmp_path / "whole", part)
        (part / "checkpoints" / "LATEST").write_text(f"step_{step}\n")
        train(replace(epochs, out=part))
        assert losses(part) == losses(tmp_path / "whole")
    assert read_progress(tmp_path / "whole" / "checkpoints" / "step_16").epoch >= 1


@pytest.mark.slow
def test_old_checkpoints_go_and_a_finished_run_does_nothing(mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / ".step_99.tmp").mkdir(parents=True)  # of a run that was killed while it saved
    train(settings(mixed, tmp_path, save_every=1, keep=2))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["LATEST", "step_5", "step_6"]
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert train(settings(mixed, tmp_path)).step == 6
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_other_shards_under_the_same_out_are_refused(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(settings(mixed, out, steps=1))
    other = write_dataset(tmp_path / "other", [text_sample(n) for n in range(30)])
    with pytest.raises(UsageError, match="other shards, packing, model or seed"):
        train(settings(other, out, steps=2))


def test_two_runs_on_one_out_are_refused(mixed: Path, tmp_path: Path) -> None:
    import fcntl

    file = os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        with pytest.raises(UsageError, match="another run is at work there"):
            train(settings(mixed, tmp_path))
    finally:
        os.close(file)


def test_a_lost_file_of_a_checkpoint_is_named(mixed: Path, tmp_path: Path) -> None:
    train(settings(mixed, tmp_path, steps=2))
    step = latest(tmp_path)
    assert step is not None
    next(step.glob("*.distcp")).unlink()
    with pytest.raises(ContractError, match=r"step_2: cannot be loaded"):
        train(settings(mixed, tmp_path, steps=4))


def test_bad_samples_are_quarantined_by_key_and_few_do_not_stop_a_run(tmp_path: Path) -> None:
    image, height, width = colour_image("red", 140, 140)
    bad = Made(branch="image_text", turns=colour_sample(0).turns, images=[(image[: len(image) // 2], height, width)])
    shards = write_dataset(tmp_path / "shards", [text_sample(0), bad, *(text_sample(n) for n in range(2, 20))])
    progress = train(settings(shards, tmp_path / "out", steps=None))
    (line,) = [json.loads(text) for text in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert (progress.failures, line["error"], len(line["key"])) == (1, "MediaError", 32)
    assert sum(one["samples"] for one in metrics(tmp_path / "out")) == 19


def test_many_bad_samples_stop_the_run(tmp_path: Path) -> None:
    image, height, width = colour_image("red", 70, 70)
    bad = Made(branch="image_text", turns=colour_sample(0).turns, images=[(image[:60], height, width)])
    shards = write_dataset(tmp_path / "shards", [bad] * 40)
    with pytest.raises(RunError, match="samples failed of"):
        train(settings(shards, tmp_path / "out"))


def test_what_is_left_out_or_cut_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Made(branch="text", turns=[{"role": "assistant", "text": "many words " * 400}])
    picture = Made(branch="image_text", turns=colour_sample(0).turns, images=[colour_image("red", 280, 280)])
    shards = write_dataset(tmp_path / "shards", [*(text_sample(n) for n in range(9)), text, picture])
    assert main(["run", "stage3", "--shards", str(shards), "--out", str(tmp_path / "out"), *FLAGS]) == 0
    printed = capsys.readouterr().err
    assert "left out 1 of 11 samples: tokens above pack_tokens" in printed
    assert "cut 1 texts to 256 tokens" in printed
    assert sum(line["samples"] for line in metrics(tmp_path / "out")) == 10
    assert max(line["tokens"] for line in metrics(tmp_path / "out")) <= 2 * 256


def test_commands_answer_with_exit_codes_and_one_line(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "stage3", "--shards", str(mixed), "--world-size", "2", "--json", *FLAGS]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["samples"], summary["world_size"]) == (96, 2)
    assert main(["run", "stage3", "--shards", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert main(["run", "stage3", "--shards", str(mixed), "--out", str(tmp_path / "out"), "--repeat", "text"]) == 2
    assert main(["generate", str(tmp_path / "nothing"), "--prompt", "Hello"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert "not a finished dataset" in errors[0]
    assert "--repeat text: wanted a name and a number" in errors[1]
    assert "no run, no checkpoint and no model directory" in errors[2]
    broken = tmp_path / "broken"
    shutil.copytree(mixed, broken)
    next((broken / "shards").glob("*.index.parquet")).unlink()
    assert main(["plan", "stage3", "--shards", str(broken)]) == 1


def arguments(shards: Path, out: Path, steps: int) -> list[str]:
    run = ["run", "stage3", "--shards", str(shards), "--out", str(out), "--steps", str(steps)]
    return [*run, "--save-every", "3", "--keep", "3", *FLAGS]


def command(shards: Path, out: Path, steps: int) -> list[str]:
    return [sys.executable, "-m", "trainer", *arguments(shards, out, steps)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def wait_for_steps(process: subprocess.Popen[bytes], out: Path, steps: int) -> None:
    """Until metrics.jsonl has that many lines."""
    path = out / "metrics.jsonl"
    while process.poll() is None and (not path.is_file() or path.read_bytes().count(b"\n") < steps):
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_killed_twice_gives_the_same_losses_bit_by_bit(mixed: Path, tmp_path: Path) -> None:
    assert main(arguments(mixed, tmp_path / "whole", 12)) == 0
    out = tmp_path / "killed"
    for steps in (random.randint(1, 5), random.randint(6, 10)):
        print(f"killed after step {steps}")
        process = subprocess.Popen(command(mixed, out, 12), env=environment(), stderr=subprocess.DEVNULL)
        wait_for_steps(process, out, steps)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert main(arguments(mixed, out, 12)) == 0
    assert losses(out) == losses(tmp_path / "whole")
    assert [line["seen"] for line in metrics(out)] == [line["seen"] for line in metrics(tmp_path / "whole")]


@pytest.mark.slow
def test_a_run_asked_to_stop_saves_and_says_how_to_go_on(mixed: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(command(mixed, tmp_path, 10_000), env=environment(), stderr=subprocess.PIPE)
    wait_for_steps(process, tmp_path, 4)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 3
    assert b"stopped by a signal, saved. Run the same command again to go on" in text
    step = latest(tmp_path)
    assert step is not None
    assert read_progress(step).step == len(metrics(tmp_path))


@pytest.mark.slow
def test_a_shard_that_is_deleted_between_two_steps_stops_the_run_and_costs_nothing(mixed: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shutil.copytree(mixed, shards)
    train(settings(shards, tmp_path / "whole", steps=8))
    train(settings(shards, tmp_path / "out", steps=2, save_every=1))
    lost = sorted((shards / "shards").glob("*.tar"))[2]
    lost.rename(tmp_path / "aside.tar")
    open_shard.cache_clear()
    with pytest.raises(ContractError, match=rf"{lost.name}: rows .* cannot be read .*No such file"):
        train(settings(shards, tmp_path / "out", steps=8, save_every=1))
    (tmp_path / "aside.tar").rename(lost)
    done = latest(tmp_path / "out")
    assert done is not None
    assert read_progress(done).step >= 2
    train(settings(shards, tmp_path / "out", steps=8))
    # The rate's schedule of the first two steps ended at step 2, so that losses differ; samples must not.
    assert [line["seen"] for line in metrics(tmp_path / "out")] == [
        line["seen"] for line in metrics(tmp_path / "whole")
    ]


def test_a_disk_that_is_full_at_a_save_leaves_the_checkpoint_before(mixed: Path, tmp_path: Path) -> None:
    train(settings(mixed, tmp_path, steps=2))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))  # a file may grow to 1 MiB: writing the weights fails
    try:
        with pytest.raises(RunError, match=r"^[^\n]*step 4 was not saved [^\n]*Free the disk[^\n]*$"):
            train(settings(mixed, tmp_path, steps=4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["LATEST", "step_2"]
    assert train(settings(mixed, tmp_path, steps=4)).step == 4
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2, 3, 4]
