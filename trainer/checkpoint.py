"""Checkpoint: weights, optimizer and place in the data, saved while training goes on; whole, or not there.

    OUT/checkpoints/step_40/       torch distributed checkpoint (any number of ranks reads it) and trainer.json
    OUT/checkpoints/.step_80.tmp   being written; renamed when it is on disk
    OUT/checkpoints/LATEST         name of the newest whole one

There is no random state to save: a step draws nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint.state_dict_loader as dcp_loader
import torch.distributed.checkpoint.state_dict_saver as dcp_saver
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.optim import AdamW

from trainer.errors import ContractError, RunError
from trainer.update import Average, Guard
from trainer.world import World


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: `step` steps are done, of them `epoch_step` in the present stretch of the present epoch; under
    which plan.
    """

    stage: str
    plan: str
    seed: int
    step: int = 0
    epoch: int = 0
    stretch: int = 0
    epoch_step: int = 0
    skipped: int = 0
    failures: int = 0
    lora: int = 0
    averaged: bool = False


@dataclass(frozen=True, kw_only=True)
class State:
    """What a checkpoint is saved from and read into, in place; what is None is left alone."""

    model: nn.Module
    optimizer: AdamW | None = None
    guard: Guard | None = None
    average: Average | None = None

    def tensors(self) -> dict[str, Any]:
        """Everything by parameter name, so that groups and ranks may differ when it is read."""
        names: dict[torch.Tensor, str] = {parameter: name for name, parameter in self.model.named_parameters()}
        state: dict[str, Any] = {"model": {name: parameter.detach() for parameter, name in names.items()}}
        if self.optimizer is not None:
            state["optimizer"] = {names[parameter]: values for parameter, values in self.optimizer.state.items()}
        if self.guard is not None:
            state["guard"] = self.guard.state()
        if self.average is not None:
            state["average"] = self.average.weights
        return state


class Saver:
    """Writes checkpoints of one run in the background, one at a time."""

    def __init__(self, directory: Path, world: World, *, keep: int, milestones: int = 0) -> None:
        """The last `keep` stay, and those whose step is a multiple of `milestones` (0: none)."""
        self.directory = directory
        self.keep = keep
        self.milestones = milestones
        self._world = world
        if world.first:  # what a killed run was writing
            for unfinished in directory.glob(".step_*.tmp"):
                shutil.rmtree(unfinished)
        self._pending: tuple[Future[Any], Path, int] | None = None
        # Its own group, so that saving never waits in line with the step's reductions.
        group = dist.new_group(backend="gloo") if world.mesh is not None else None
        assert group is None or isinstance(group, dist.ProcessGroup)
        self._group = group

    def save(self, state: State, progress: Progress) -> None:
        """Copy the state and return; the files follow. Waits for the save before.

        Raises:
            RunError: that one failed, for example on a full disk.
        """
        self.wait()
        temporary = self.directory / f".step_{progress.step}.tmp"
        if self._world.first:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            (temporary / "trainer.json").write_text(json.dumps(asdict(progress), indent=1) + "\n", encoding="utf-8")
        self._world.wait()
        _allow_one_process()
        future = dcp_saver.async_save(
            state.tensors(),
            checkpoint_id=temporary,
            process_group=self._group,
            no_dist=self._group is None,
        )
        assert isinstance(future, Future)
        self._pending = (future, temporary, progress.step)

    def wait(self) -> None:
        """Until the last save is on disk and named."""
        if self._pending is None:
            return
        (future, temporary, step), self._pending = self._pending, None
        error = future.exception()
        if error is not None:
            if self._world.first:
                shutil.rmtree(temporary, ignore_errors=True)
            raise RunError(
                f"{temporary}: checkpoint of step {step} was not saved ({_cause(error)}). Free the disk and run the "
                "same command again"
            ) from error
        if self._world.first:  # its part ends last: it gathers what all ranks wrote
            self._publish(temporary, step)

    def poll(self) -> None:
        """Name a save that has reached the disk, without waiting for one that has not."""
        if self._pending is not None and self._pending[0].done():
            self.wait()

    def _publish(self, temporary: Path, step: int) -> None:
        final = self.directory / f"step_{step}"
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        write_atomically(self.directory / "LATEST", final.name + "\n")
        steps = sorted(int(path.name.removeprefix("step_")) for path in self.directory.glob("step_*"))
        passing = [one for one in steps if one != step and not (self.milestones and one % self.milestones == 0)]
        for old in passing[: max(0, len(passing) + 1 - self.keep)]:
            shutil.rmtree(self.directory / f"step_{old}")


def latest(run: Path) -> Path | None:
    """The newest whole checkpoint of a run directory; None if it has none."""
    pointer = run / "checkpoints" / "LATEST"
    if not pointer.is_file():
        return None
    step = pointer.parent / pointer.read_text(encoding="utf-8").strip()
    if not (step / "trainer.json").is_file():
        raise ContractError(
            f"{pointer}: names {step.name}, which is not there. Write the name of a step that is, or remove the file"
        )
    return step


def read_progress(step: Path) -> Progress:
    """How far the run of a checkpoint was."""
    return Progress(**json.loads((step / "trainer.json").read_text(encoding="utf-8")))


def load(step: Path, state: State, *, alone: bool = True) -> None:
    """Read what `state` names, in place.

    Args:
        alone: this process reads for itself; else all ranks read together, each its part of a sharded model.

    Raises:
        ContractError: files are missing, or it holds another model or other groups.
    """
    _read(step, state.tensors(), alone=alone)


def load_average(step: Path, model: nn.Module) -> None:
    """Read averaged weights over those of a model that has been loaded, where the checkpoint holds an average."""
    held = FileSystemReader(step).read_metadata().state_dict_metadata
    weights = {name: p.detach() for name, p in model.named_parameters() if f"average.{name}" in held}
    _read(step, {"average": weights}, alone=True)


def _read(step: Path, tensors: dict[str, Any], *, alone: bool) -> None:
    _allow_one_process()
    try:
        dcp_loader.load(tensors, checkpoint_id=step, no_dist=alone)
    except (CheckpointException, OSError, RuntimeError, ValueError) as error:
        raise ContractError(
            f"{step}: cannot be loaded into this model ({_cause(error)}). Use another checkpoint, or the model that "
            "it was saved from"
        ) from error


def _cause(error: BaseException) -> str:
    """What went wrong, on one line; torch gathers the failures of all ranks with their stacks."""
    if isinstance(error, CheckpointException):
        rank, (error, _) = next(iter(error.failures.items()))
        return f"rank {rank}: {type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return " ".join(str(error).split())


def _allow_one_process() -> None:
    """Torch warns of saving without a process group, from a thread of its own, where no `catch_warnings` of ours
    reaches.
    """
    warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")


def write_atomically(path: Path, text: str) -> None:
    """Replace a small file as a whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
