"""Metrics: what a person looks at while training: metrics.jsonl, TensorBoard beside it, and one live line."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import torch

from trainer.checkpoint import write_atomically
from trainer.step import StepOutcome

# Dense bf16 peak of the maker's data sheet, without sparsity, by a part of the device's name.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "A800": 312e12, "L40S": 362e12, "4090": 165e12}


@cache
def peak_flops(device: torch.device) -> float:
    """Floating point operations per second that the device can do: the data sheet's for known GPUs, else measured
    here in fp32.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        if known := [peak for part, peak in PEAKS.items() if part in name]:
            return known[0]
    side, best = 768, 0.0
    matrix = torch.ones(side, side, device=device)
    for _ in range(4):
        started = time.perf_counter()
        float((matrix @ matrix)[0, 0])
        best = max(best, 2 * side**3 / (time.perf_counter() - started))
    return best


@dataclass(kw_only=True)
class MetricsLog:
    """One line of OUT/metrics.jsonl per step, by the first rank. `first`: steps already done; later lines of a
    killed run are cut off.
    """

    out: Path
    first: int
    total: int
    stream: TextIO = field(default_factory=lambda: sys.stderr)

    def __post_init__(self) -> None:
        from torch.utils.tensorboard import SummaryWriter  # heavy, and of the first rank only

        path = self.out / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        write_atomically(path, "".join(line for line in lines if _step_of(line) <= self.first))
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(self.out / "tensorboard"), purge_step=self.first + 1)
        self._started = time.perf_counter()
        self._shown = 0.0

    def write(self, line: dict[str, Any]) -> None:
        """Record a step; `line` holds the fields of design.md section 5."""
        line = {name: _strict(value) for name, value in line.items()}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()
        for name, value in line.items():
            if isinstance(value, int | float) and name != "step":
                self._board.add_scalar(name, value, line["step"])
        for group in ("loss_by_branch", "grad_norm_by_component"):
            for name, value in line[group].items():
                if value is not None:
                    self._board.add_scalar(f"{group}/{name}", value, line["step"])
        self._show(line)

    def close(self) -> None:
        """Flush everything."""
        self._file.close()
        self._board.close()
        if self.stream.isatty():
            self.stream.write("\n")

    def _show(self, line: dict[str, Any]) -> None:
        """One line that is rewritten on a terminal; a plain line every ten seconds, and the last one, in a log."""
        now, done = time.perf_counter(), line["step"] == self.total
        live = self.stream.isatty()
        if not (live or done or now - self._shown > 10):
            return
        self._shown = now
        left = (now - self._started) / (line["step"] - self.first) * (self.total - line["step"])
        loss = "-" if line["loss"] is None else f"{line['loss']:.4f}"
        text = (
            f"step {line['step']:,}/{self.total:,}  loss {loss}  {line['tokens_per_second']:,.0f} tokens/s  "
            f"mfu {line['mfu']:.1%}  wait {line['data_wait']:.2f} s  skipped {line['skipped']}  {clock(left)} left"
        )
        self.stream.write(f"\r\x1b[2K{text}" if live else text + "\n")
        self.stream.flush()


def step_line(
    outcome: StepOutcome,
    *,
    step: int,
    rate: float,
    seconds: float,
    data_wait: float,
    flops: float,
    peak: float,
    skipped: int,
    branches: tuple[str, ...],
) -> dict[str, Any]:
    """The record of a step.

    Args:
        rate: learning rate of the first group that trains. seconds: of the whole step. data_wait: of them, waiting
            for packs.
        flops: of the step over all ranks. peak: flops per second of all ranks. skipped: steps skipped so far.
    """
    by_branch = {
        name: loss / tokens
        for name, loss, tokens in zip(branches, outcome.branch_losses, outcome.branch_tokens, strict=True)
        if tokens
    }
    return {
        "step": step,
        "loss": outcome.loss,
        "tokens": outcome.tokens,
        "loss_tokens": outcome.loss_tokens,
        "samples": outcome.samples,
        "lr": rate,
        "grad_norm": outcome.grad_norm,
        "tokens_per_second": outcome.tokens / seconds,
        "mfu": flops / seconds / peak,
        "data_wait": data_wait,
        "skipped": skipped,
        "loss_by_branch": by_branch,
        "visual_tokens": outcome.visual_tokens,
        "pruned": outcome.pruned,
        "pruned_share": outcome.pruned / max(1, outcome.visual_tokens + outcome.pruned),
        "failures": outcome.failures,
        "grad_norm_by_component": outcome.component_norms,
        "seen": outcome.seen,
        "seconds": seconds,
    }


def clock(seconds: float) -> str:
    """3725 -> 1:02:05."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _strict(value: Any) -> Any:
    """JSON has no NaN: a loss that is none is null."""
    if isinstance(value, dict):
        return {name: _strict(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _step_of(line: str) -> float:
    """Step of a line; a line that a kill cut short counts as never written."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return float("inf")
