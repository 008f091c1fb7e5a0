"""Train: one stage from its first step to its last, on every rank alike.

OUT/run.json        what was asked for           OUT/metrics.jsonl     one line per step
OUT/checkpoints/    see trainer.checkpoint       OUT/quarantine.jsonl  samples that could not be trained on
OUT/processor/      config and tokenizer         OUT/model/            the result, for transformers and the next stage
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.optim import AdamW

from model import Processor, VideoLLaMA3
from trainer.checkpoint import Progress, Saver, State, latest, load, read_progress, write_atomically
from trainer.dataset import Catalogue, open_catalogue
from trainer.encode import StageEncoder, for_stage
from trainer.errors import RunError, UsageError
from trainer.flops import FlopModel, flop_model
from trainer.loader import LoadedPack, PackReader, load_packs, step_numbers
from trainer.lora import add_lora
from trainer.meter import Launched, Meter, quarantine, stopped
from trainer.metrics import MetricsLog
from trainer.mirror import local_dataset
from trainer.mixture import with_repeats
from trainer.optimizer import make_optimizer, rate_share, set_rates, set_trainable, trained_by_name
from trainer.parallelize import Parallel, parallelize
from trainer.plan import Plan, epoch_plans, plan_digest, with_step_size
from trainer.stages import Stage, stage_for, with_changes
from trainer.start import describe, export, source_of, start
from trainer.step import train_step
from trainer.update import Average, Guard
from trainer.upkeep import Upkeep, alone, stop_signal
from trainer.world import World, join_world


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run is asked to do. `changes` replaces values of the stage; `steps` None is the stage's epochs."""

    stage: str
    shards: tuple[Path | str, ...]
    out: Path
    init: str | None = None
    model: str | None = None
    language: str | None = None
    vision: str | None = None
    steps: int | None = None
    seed: int = 0
    workers: int = 0
    save_every: int = 500
    keep: int = 2
    milestones: int = 0
    replicas: int = 1
    timeout: float = 600.0
    changes: dict[str, Any] = field(default_factory=dict)
    parallel: Parallel = field(default_factory=Parallel)
    upkeep: Upkeep = field(default_factory=Upkeep)

    @property
    def source(self) -> str:
        """What the weights come from: a checkpoint in any form, or a preset, which means random ones."""
        return source_of(init=self.init, model=self.model, language=self.language, vision=self.vision)


@dataclass(kw_only=True)
class Run:
    """A run in progress; only `progress` changes."""

    settings: Settings
    world: World
    stage: Stage
    model: VideoLLaMA3
    processor: Processor
    optimizer: AdamW
    catalogue: Catalogue
    flops: FlopModel
    total: int
    guard: Guard
    average: Average | None
    progress: Progress

    def state(self) -> State:
        """What a checkpoint holds."""
        return State(model=self.model, optimizer=self.optimizer, guard=self.guard, average=self.average)


def train(settings: Settings) -> Progress:
    """Run a stage to its end, from the newest checkpoint of OUT if there is one.

    Raises:
        UsageError: it cannot be started as asked.
        ContractError: the shards or a checkpoint are not what they say.
        RunError: it stopped; the same command resumes it.
    """
    with (
        join_world(replicas=settings.replicas) as world,
        alone(settings.out, world),
        stop_signal() as stopping,
        settings.upkeep.around(settings.out, world) as after_step,
    ):
        run = prepare(settings, world)
        saver = Saver(settings.out / "checkpoints", world, keep=settings.keep, milestones=settings.milestones)
        log = MetricsLog(out=settings.out, first=run.progress.step, total=run.total) if world.first else None
        try:
            _loop(run, saver, log, stopping, after_step)
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
    model, processor = start(
        settings.source, vision=settings.vision, joined=settings.language is not None, seed=settings.seed
    )
    published = stage_for(settings.stage, width=model.config.language.hidden, source=settings.source)
    stage = with_changes(published, settings.changes)
    catalogue = open_catalogue(
        _places(settings, stage, processor, world), stage.rules, tokenizer=processor.tokenizer.digest()
    )
    processor = for_stage(processor, stage)
    flops = flop_model(model.config, stage)
    stage = with_repeats(stage, catalogue)
    stage = with_step_size(stage, catalogue, flops, seed=settings.seed)
    digest = plan_digest(catalogue.digest, stage, flops, settings.seed)
    if world.first:
        describe(settings.out, model, processor)
        write_atomically(
            settings.out / "run.json", json.dumps(_described(settings, stage), indent=1, default=str) + "\n"
        )
    if stage.lora:
        add_lora(model, stage.lora, seed=settings.seed)
    set_trainable(model.train(), stage)
    parallelize(model.to(world.device), world, settings.parallel)
    run = Run(
        settings=settings,
        world=world,
        stage=stage,
        model=model,
        processor=processor,
        optimizer=make_optimizer(model, stage),
        catalogue=catalogue,
        flops=flops,
        total=settings.steps
        if settings.steps is not None
        else _steps_of_epochs(catalogue, stage, flops, settings.seed),
        guard=Guard(device=world.device, sigmas=stage.spike),
        average=Average(trained_by_name(model), decay=stage.average) if stage.average else None,
        progress=Progress(
            stage=stage.name, plan=digest, seed=settings.seed, lora=stage.lora, averaged=bool(stage.average)
        ),
    )
    if step := latest(settings.out):
        run.progress = _resumable(read_progress(step), run.progress, step)
        load(step, run.state(), alone=world.mesh is None)
    return run


def _loop(
    run: Run, saver: Saver, log: MetricsLog | None, stopping: list[int], after_step: Callable[[int], None]
) -> None:
    """Every step is launched before the outcome of the one before is read, so that a GPU never waits for the host."""
    stage, settings = run.stage, run.settings
    meter, waiting = Meter(run, log), None
    for plan, epoch_step, packs, waited in _steps(run):
        share = rate_share(run.progress.step, total=run.total, warmup=stage.warmup)
        set_rates(run.optimizer, share, step=run.progress.step)
        began = time.perf_counter() - waited
        pending = train_step(
            run.model,
            run.optimizer,
            packs,
            planned=plan.loss_tokens(epoch_step),
            branches=len(run.catalogue.branches),
            clip=stage.clip,
            clip_each=stage.clip_each,
            world=run.world,
            guard=run.guard,
            average=run.average,
            stop=bool(stopping),
        )
        took = time.perf_counter() - began
        done = {
            "step": run.progress.step + 1,
            "epoch": plan.epoch,
            "stretch": plan.stretch,
            "epoch_step": epoch_step + 1,
        }
        run.progress = replace(run.progress, **done)
        quarantine(settings.out, packs)
        if waiting is not None:
            meter.finish(waiting)
        flops = float(plan.flops[plan.step(epoch_step)].sum())
        waiting = Launched(step=run.progress.step, pending=pending, flops=flops, share=share, waited=waited, took=took)
        saver.poll()
        due = settings.save_every and run.progress.step % settings.save_every == 0
        if due or run.progress.step == run.total or meter.stop:
            meter.finish(waiting)
            waiting = None
            saver.save(run.state(), run.progress)
        _stop_if_needed(run, saver, meter)
        after_step(run.progress.step)


def _steps(run: Run) -> Iterator[tuple[Plan, int, list[LoadedPack], float]]:
    """(plan, step of its stretch, this rank's packs, seconds waited for them) from where the run is to its end."""
    world, settings = run.world, run.settings
    first, left = run.progress.epoch_step, run.total - run.progress.step
    plans = _plans(run)
    while left > 0:
        plan = next(plans)
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
        first, left = 0, left - len(steps)


def _plans(run: Run) -> Iterator[Plan]:
    """The plan that the run is in, and all after it."""
    first = run.progress.stretch
    for epoch in itertools.count(run.progress.epoch):
        yield from epoch_plans(run.catalogue, run.stage, run.flops, seed=run.settings.seed, epoch=epoch, first=first)
        first = 0


def _stop_if_needed(run: Run, saver: Saver, meter: Meter) -> None:
    where = f"{run.settings.out}: step {run.progress.step}"
    if meter.stop and run.progress.step < run.total:
        saver.wait()
        raise stopped(where)
    if complaint := meter.complaint():
        saver.wait()
        raise RunError(f"{where}: {complaint}")


def _resumable(saved: Progress, wanted: Progress, step: Path) -> Progress:
    """The progress to go on from, if it is of the same stage over the same plan."""
    if (saved.lora, saved.averaged) != (wanted.lora, wanted.averaged):
        raise UsageError(
            f"{step}: was trained with lora {saved.lora} and average {saved.averaged}, asked is lora {wanted.lora} and "
            f"average {wanted.averaged}. Ask for the same, or give another --out and this one as --init"
        )
    if (saved.stage, saved.plan) != (wanted.stage, wanted.plan):
        raise UsageError(
            f"{step}: is of {saved.stage} under plan {saved.plan}, asked is {wanted.stage} under plan {wanted.plan}: "
            "other shards, packing, "
            "model or seed. Give another --out; to start from these weights, give --init"
        )
    return saved


def _steps_of_epochs(catalogue: Catalogue, stage: Stage, flops: FlopModel, seed: int) -> int:
    """Steps of all epochs; every stretch is planned to count them, so that for 10^9 samples `steps` is better given."""
    return sum(
        plan.num_steps
        for epoch in range(stage.epochs)
        for plan in epoch_plans(catalogue, stage, flops, seed=seed, epoch=epoch)
    )


def _report_drops(plan: Plan, world: World) -> None:
    """Say what the plan leaves out or cuts: nothing is dropped in silence."""
    if not world.first:
        return
    head = f"plan: epoch {plan.epoch}:" if not plan.stretch else f"plan: epoch {plan.epoch}, stretch {plan.stretch}:"
    for reason, count in plan.dropped.items():
        print(f"{head} left out {count:,} of {len(plan.dataset):,} samples: {reason}", file=sys.stderr)
    own = plan.dataset.max_tokens
    if own is not None and (number := int((own[plan.samples] > 0).sum())):
        print(f"{head} {number:,} samples with fewer frames or at a lower resolution, to fit", file=sys.stderr)
    if plan.shortened:
        print(f"{head} cut {plan.shortened:,} texts to {plan.stage.pack_tokens:,} tokens", file=sys.stderr)


def _places(settings: Settings, stage: Stage, processor: Processor, world: World) -> list[Path]:
    """Local directories of the shards; the first rank of each machine makes what mirrors are missing."""
    for turn in (True, False):
        if turn == world.first_here:
            for place in settings.shards:
                local_dataset(place, rules=stage.rules, processor=processor)
        world.wait()
    return [local_dataset(place, rules=stage.rules, processor=processor) for place in settings.shards]


def _described(settings: Settings, stage: Stage) -> dict[str, Any]:
    return {"settings": asdict(settings), "stage": asdict(stage), "torch": torch.__version__}
