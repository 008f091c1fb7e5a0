"""Upkeep: what surrounds a run: one run per OUT, signals, determinism, garbage, profiles and memory snapshots."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from trainer.errors import UsageError
from trainer.world import World

PROFILE_AFTER = 3  # steps that are left out of a profile, since the first ones allocate, compile and connect


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """deterministic: only kernels that give the same bits every time, which are slower on a GPU; a CPU has no others.
    collect_every: steps between collections of Python's garbage, so that all ranks pause together; 0 leaves it to
    Python. profile: steps to record into OUT/profile. memory: record every allocation of the GPU into OUT/memory.
    """

    deterministic: bool = False
    collect_every: int = 50
    profile: int = 0
    memory: bool = False

    @contextmanager
    def around(self, out: Path, world: World) -> Iterator[Callable[[int], None]]:
        """A function to call after every step, with its number.

        Raises:
            UsageError: a memory snapshot is asked for without a GPU.
        """
        with ExitStack() as stack:
            calls: list[Callable[[int], None]] = []
            if self.deterministic:
                stack.enter_context(_deterministic())
            if self.collect_every:
                calls.append(stack.enter_context(_collected(self.collect_every)))
            if self.profile:
                calls.append(stack.enter_context(_profiled(out / "profile", world, self.profile)))
            if self.memory:
                stack.enter_context(_remembered(out / "memory", world))

            def after_step(step: int) -> None:
                for call in calls:
                    call(step)

            yield after_step


@contextmanager
def _deterministic() -> Iterator[None]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def _collected(every: int) -> Iterator[Callable[[int], None]]:
    """Python's collector runs when we say so: at a moment of its own, one rank makes all others wait."""
    gc.collect()
    gc.disable()
    try:
        yield lambda step: None if step % every else _collect()
    finally:
        gc.enable()


def _collect() -> None:
    gc.collect(1)


@contextmanager
def _profiled(directory: Path, world: World, steps: int) -> Iterator[Callable[[int], None]]:
    directory.mkdir(parents=True, exist_ok=True)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if world.device.type == "cuda" else [])]
    recorded = profile(
        activities=activities,
        schedule=schedule(wait=PROFILE_AFTER - 1, warmup=1, active=steps, repeat=1),
        on_trace_ready=lambda made: made.export_chrome_trace(str(directory / f"rank_{world.rank}.json")),
    )
    with recorded:
        yield lambda _: recorded.step()


@contextmanager
def _remembered(directory: Path, world: World) -> Iterator[None]:
    if world.device.type != "cuda":
        raise UsageError("--memory: found no GPU, and only a GPU's allocations can be recorded. Leave the flag out")
    directory.mkdir(parents=True, exist_ok=True)
    torch.cuda.memory._record_memory_history(max_entries=100_000)
    try:
        yield
    finally:  # also when the run ends because memory is full, which is when it is looked at
        torch.cuda.memory._dump_snapshot(str(directory / f"rank_{world.rank}.pickle"))
        torch.cuda.memory._record_memory_history(enabled=None)


@contextmanager
def alone(out: Path, world: World) -> Iterator[None]:
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
def stop_signal() -> Iterator[list[int]]:
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
