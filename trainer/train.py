"""Train: one stage from its first step to its last, on every rank alike.

OUT/run.json        what was asked for           OUT/metrics.jsonl     one line per step
OUT/checkpoints/    see trainer.checkpoint       OUT/quarantine.jsonl  samples that could not be trained on
OUT/processor/      config and tokenizer         OUT/model/            the result, for transformers and the next stage
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.optim import AdamW

from model import Processor, VideoLLaMA3
from trainer.checkpoint import Progress, Saver, latest, load, read_progress, write_atomically
from trainer.dataset import Dataset, open_shards
from trainer.encode import StageEncoder, for_stage
from trainer.errors import RunError, UsageError
from trainer.flops import FlopModel
from trainer.loader import LoadedPack, PackReader, load_packs, step_numbers
from trainer.metrics import MetricsLog, peak_flops, step_line
from trainer.optimizer import make_optimizer, rate_share, set_rates, set_trainable
from trainer.parallelize import Parallel, parallelize
from trainer.plan import Plan, make_plan, plan_digest
from trainer.stages import Stage, stage_for
from trainer.start import describe, export, start
from trainer.step import train_step
from trainer.world import World, join_world

MAX_SKIPPED = 20  # steps in a row without a finite gradient: the run has diverged
MAX_FAILED = 0.01  # share of samples that may fail; the first 16 are free


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run is asked to do. `changes` replaces values of the stage; `steps` None is the stage's epochs."""

    stage: str
    shards: tuple[Path, ...]
    out: Path
    init: str | None = None
    model: str | None = None
    steps: int | None = None
    seed: int = 0
    workers: int = 0
    save_every: int = 500
    keep: int = 2
    timeout: float = 600.0
    changes: dict[str, Any] = field(default_factory=dict)
    parallel: Parallel = field(default_factory=Parallel)

    @property
    def source(self) -> str:
        """What the weights come from: a checkpoint in any form, or a preset, which means random ones."""
        return self.init or self.model or "tiny"


@dataclass(kw_only=True)
class Run:
    """A run in progress; only `progress` changes."""

    settings: Settings
    world: World
    stage: Stage
    model: VideoLLaMA3
    processor: Processor
    optimizer: AdamW
    dataset: Dataset
    flops: FlopModel
    total: int
    progress: Progress


def train(settings: Settings) -> Progress:
    """Run a stage to its end, from the newest checkpoint of OUT if there is one.

    Raises:
        UsageError: it cannot be started as asked.
        ContractError: the shards or a checkpoint are not what they say.
        RunError: it stopped; the same command resumes it.
    """
    with join_world() as world, _alone(settings.out, world), _stop_signal() as stopping:
        run = prepare(settings, world)
        saver = Saver(settings.out / "checkpoints", world, keep=settings.keep)
        log = MetricsLog(out=settings.out, first=run.progress.step, total=run.total) if world.first else None
        try:
            _loop(run, saver, log, stopping)
        finally:
            if log is not None:
                log.close()
        saver.wait()
        world.wait()
        if world.first and run.progress.step >= run.total:
            export(settings.out, settings.out / "model")
        world.wait()
    return run.progress


def prepare(settings: Settings, world: World) -> Run:
    """Everything that the loop needs, read and checked."""
    model, processor = start(init=settings.init, model=settings.model, seed=settings.seed)
    published = stage_for(settings.stage, width=model.config.language.hidden, source=settings.source)
    stage = replace(published, **settings.changes)
    dataset = open_shards(settings.shards, stage.rules, tokenizer=processor.tokenizer.digest())
    processor = for_stage(processor, stage)
    flops = FlopModel(config=model.config, trains=tuple(sorted(stage.rates)))
    digest = plan_digest(dataset, stage, flops, settings.seed)
    if world.first:
        describe(settings.out, model, processor)
        write_atomically(
            settings.out / "run.json", json.dumps(_described(settings, stage), indent=1, default=str) + "\n"
        )
    set_trainable(model.train(), stage)
    parallelize(model.to(world.device), world, settings.parallel)
    optimizer = make_optimizer(model, stage)
    progress = Progress(stage=stage.name, plan=digest, seed=settings.seed)
    if step := latest(settings.out):
        progress = _resumable(read_progress(step), progress, step)
        load(step, model, optimizer, alone=world.mesh is None)
    total = settings.steps if settings.steps is not None else _steps_of_epochs(dataset, stage, flops, settings.seed)
    return Run(
        settings=settings,
        world=world,
        stage=stage,
        model=model,
        processor=processor,
        optimizer=optimizer,
        dataset=dataset,
        flops=flops,
        total=total,
        progress=progress,
    )


def _loop(run: Run, saver: Saver, log: MetricsLog | None, stopping: list[int]) -> None:
    stage, world, settings = run.stage, run.world, run.settings
    peak, in_a_row, mark = peak_flops(world.device) * world.size, 0, time.perf_counter()
    seen = 0
    for plan, epoch_step, packs, waited in _steps(run):
        share = rate_share(run.progress.step, total=run.total, warmup=stage.warmup)
        set_rates(run.optimizer, share)
        outcome = train_step(
            run.model,
            run.optimizer,
            packs,
            planned=plan.loss_tokens(epoch_step),
            branches=len(run.dataset.branches),
            clip=stage.clip,
            world=world,
            stop=bool(stopping),
        )
        in_a_row = in_a_row + 1 if outcome.skipped else 0
        run.progress = replace(
            run.progress,
            step=run.progress.step + 1,
            epoch=plan.epoch,
            epoch_step=epoch_step + 1,
            skipped=run.progress.skipped + outcome.skipped,
            failures=run.progress.failures + outcome.failures,
        )
        seen += outcome.samples + outcome.failures
        _quarantine(settings.out, packs)
        mark, seconds = time.perf_counter(), time.perf_counter() - mark
        if log is not None:
            flops = float(plan.flops[plan.step(epoch_step)].sum())
            rate = max(stage.rates.values()) * share
            log.write(
                step_line(
                    outcome,
                    step=run.progress.step,
                    rate=rate,
                    seconds=seconds,
                    data_wait=waited,
                    flops=flops,
                    peak=peak,
                    skipped=run.progress.skipped,
                    branches=run.dataset.branches,
                )
            )
        saver.poll()
        if run.progress.step % settings.save_every == 0 or run.progress.step == run.total or outcome.stop:
            saver.save(run.model, run.optimizer, run.progress)
        _stop_if_needed(run, saver, outcome.stop, in_a_row, seen)


def _steps(run: Run) -> Iterator[tuple[Plan, int, list[LoadedPack], float]]:
    """(plan, step of the epoch, this rank's packs, seconds waited for them) from where the run is to its end."""
    world, settings = run.world, run.settings
    epoch, first, left = run.progress.epoch, run.progress.epoch_step, run.total - run.progress.step
    while left > 0:
        plan = make_plan(run.dataset, run.stage, run.flops, seed=settings.seed, epoch=epoch)
        _report_drops(plan, world)
        steps = list(step_numbers(plan, rank=world.rank, world=world.size, first=first))[:left]
        reader = PackReader(plan, StageEncoder(run.processor, run.stage.rules))
        numbers = [number for _, mine in steps for number in mine]
        packs = load_packs(
            reader, numbers, workers=settings.workers, pin=world.device.type == "cuda", timeout=settings.timeout
        )
        for step, mine in steps:
            started = time.perf_counter()
            loaded = [next(packs) for _ in mine]
            yield plan, step, loaded, time.perf_counter() - started
        epoch, first, left = epoch + 1, 0, left - len(steps)


def _stop_if_needed(run: Run, saver: Saver, asked: bool, in_a_row: int, seen: int) -> None:
    where = f"{run.settings.out}: step {run.progress.step}"
    if asked and run.progress.step < run.total:
        saver.wait()
        raise RunError(f"{where}: stopped by a signal, saved. Run the same command again to go on")
    if in_a_row >= MAX_SKIPPED:
        saver.wait()
        raise RunError(
            f"{where}: {in_a_row} steps in a row had no finite gradient. Lower the learning rate, or look at the "
            "packs in metrics.jsonl"
        )
    if run.progress.failures > max(16, MAX_FAILED * seen):
        saver.wait()
        raise RunError(
            f"{where}: {run.progress.failures} samples failed of {seen} seen, at most {MAX_FAILED:.0%} may. "
            f"See {run.settings.out / 'quarantine.jsonl'}, then curate again"
        )


def _resumable(saved: Progress, wanted: Progress, step: Path) -> Progress:
    """The progress to go on from, if it is of the same stage over the same plan."""
    if (saved.stage, saved.plan) != (wanted.stage, wanted.plan):
        raise UsageError(
            f"{step}: is of {saved.stage} under plan {saved.plan}, asked is {wanted.stage} under plan {wanted.plan}: "
            "other shards, packing, "
            "model or seed. Give another --out; to start from these weights, give --init"
        )
    return saved


def _steps_of_epochs(dataset: Dataset, stage: Stage, flops: FlopModel, seed: int) -> int:
    return sum(make_plan(dataset, stage, flops, seed=seed, epoch=epoch).num_steps for epoch in range(stage.epochs))


def _report_drops(plan: Plan, world: World) -> None:
    """Say what the plan leaves out or cuts: nothing is dropped in silence."""
    if not world.first:
        return
    head = f"plan: epoch {plan.epoch}:"
    for reason, count in plan.dropped.items():
        print(f"{head} left out {count:,} of {len(plan.dataset):,} samples: {reason}", file=sys.stderr)
    if plan.shortened:
        print(f"{head} cut {plan.shortened:,} texts to {plan.stage.pack_tokens:,} tokens", file=sys.stderr)


def _quarantine(out: Path, packs: Sequence[LoadedPack]) -> None:
    """Append this rank's failures; one write per line, so that ranks do not mix theirs."""
    for loaded in packs:
        for failure in loaded.failures:
            with (out / "quarantine.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({**asdict(failure), "pack": loaded.number}, ensure_ascii=False) + "\n")


def _described(settings: Settings, stage: Stage) -> dict[str, Any]:
    return {"settings": asdict(settings), "stage": asdict(stage), "torch": torch.__version__}


@contextmanager
def _alone(out: Path, world: World) -> Iterator[None]:
    """Two runs on one OUT would mix their checkpoints: the second is refused."""
    out.mkdir(parents=True, exist_ok=True)
    file = os.open(out / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        if world.first:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UsageError(f"{out}: another run is at work there. Wait for it, or give another --out") from error
    finally:
        os.close(file)


@contextmanager
def _stop_signal() -> Iterator[list[int]]:
    """A list that holds the signal once SIGTERM or SIGINT came; the step in progress is finished and saved first."""
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
