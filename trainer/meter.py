"""Meter: reads the outcome of steps after they were launched, counts, and says when a run must stop."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import RunError
from trainer.loader import LoadedPack
from trainer.metrics import MetricsLog, peak_flops, step_line
from trainer.step import PendingStep

if TYPE_CHECKING:
    from trainer.train import Run

MAX_SKIPPED = 20  # steps in a row that were skipped: the run has diverged
MAX_FAILED = 0.01  # share of samples that may fail; the first 16 are free


@dataclass(frozen=True, kw_only=True, eq=False)
class Launched:
    """A step that runs: its number, its cost in flops over all ranks, its share of the peak learning rates, and the
    seconds that this rank waited for its packs, and until it was launched, which on a CPU is the step itself.
    """

    step: int
    pending: PendingStep
    flops: float
    share: float
    waited: float
    took: float


class Meter:
    """Counts of a run since it was started; what a checkpoint keeps of them goes to `run.progress`."""

    def __init__(self, run: Run, log: MetricsLog | None) -> None:
        self.run = run
        self.log = log
        self.stop = False
        self.in_a_row = 0
        self.seen = 0
        self._peak = peak_flops(run.world.device) * run.world.size if log is not None else 0.0
        self._mark = time.perf_counter()

    def finish(self, launched: Launched) -> None:
        """Wait for a step, count it and log it."""
        outcome = launched.pending.read()
        self._mark, seconds = time.perf_counter(), time.perf_counter() - self._mark
        run = self.run
        if (
            run.world.device.type == "cpu"
        ):  # the outcome is read a step later, but the work was done when it was launched
            seconds = launched.took
        self.stop |= outcome.stop
        self.in_a_row = self.in_a_row + 1 if outcome.skipped else 0
        self.seen += outcome.samples + outcome.failures
        run.progress = replace(
            run.progress,
            skipped=run.progress.skipped + outcome.skipped,
            failures=run.progress.failures + outcome.failures,
        )
        if self.log is not None:
            line = step_line(
                outcome,
                step=launched.step,
                rate=max(run.stage.rates.values()) * launched.share,
                seconds=seconds,
                data_wait=launched.waited,
                flops=launched.flops,
                peak=self._peak,
                skipped=run.progress.skipped,
                branches=run.catalogue.branches,
            )
            self.log.write(line)

    def complaint(self) -> str | None:
        """Why the run cannot go on, if it cannot."""
        if self.in_a_row >= MAX_SKIPPED:
            return (
                f"{self.in_a_row} steps in a row were skipped: no finite gradient, or a spike. Lower the learning "
                "rate, or look at the packs in metrics.jsonl"
            )
        failures = self.run.progress.failures
        if failures > max(16, MAX_FAILED * self.seen):
            return (
                f"{failures} samples failed of {self.seen} seen, at most {MAX_FAILED:.0%} may. "
                f"See {self.run.settings.out / 'quarantine.jsonl'}, then curate again"
            )
        return None


def quarantine(out: Path, packs: Sequence[LoadedPack]) -> None:
    """Append this rank's failures; one write per line, so that ranks do not mix theirs."""
    for loaded in packs:
        for failure in loaded.failures:
            with (out / "quarantine.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({**asdict(failure), "pack": loaded.number}, ensure_ascii=False) + "\n")


def stopped(where: str) -> RunError:
    """The end of a run that was asked to stop."""
    return RunError(f"{where}: stopped by a signal, saved. Run the same command again to go on")
