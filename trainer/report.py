"""Report: what training did, from the metrics of one or several runs, as one HTML page that needs nothing else."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charts import Block, Chart, Section, Share, Table, lines, render
from trainer.errors import UsageError

POINTS = 300  # per line; more are averaged in equal stretches of steps
MANY = 8  # lines that can be told apart in one chart
LAST = 0.05  # share of the steps that "at the end" means

Step = Mapping[str, Any]
Points = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: its name and its steps in order, as in metrics.jsonl; failures: error -> messages, from quarantine.jsonl."""

    name: str
    steps: Sequence[Step]
    failures: Mapping[str, Sequence[str]]

    def points(self, value: Callable[[Step], Any]) -> Points:
        """(step, value) of the steps that have one, thinned to means of equal stretches."""
        found = [(step["step"], number) for step in self.steps if (number := value(step)) is not None]
        return thinned(found)

    def values(self, name: str) -> list[float]:
        """A field of every step that has it."""
        return [step[name] for step in self.steps if step.get(name) is not None]


def write_report(runs: Sequence[Path], path: Path | None = None) -> Path:
    """Write the page; returns where it is.

    Args:
        runs: output directories of `vl3-train run`, or metrics.jsonl files; each becomes a line in every chart.
        path: the page's file; None = report.html beside the first run's metrics.

    Raises:
        UsageError: a run has no metrics.
    """
    files = [run / "metrics.jsonl" if run.is_dir() else run for run in runs]
    read = [_read(file, name) for file, name in zip(files, _names(files), strict=True)]
    target = path or files[0].parent / "report.html"
    names = ", ".join(run.name for run in read)
    page = render("base.html", title="Training", lead=f"Runs: {names}", sections=sections(read))
    from trainer.checkpoint import write_atomically  # loads torch, which drawing does not need

    write_atomically(target, page)
    return target


def sections(runs: Sequence[Run]) -> list[Section]:
    """The chapters of the page; what no run recorded is left out."""
    found = [_summary(runs), _loss(runs), _speed(runs), _optimizer(runs), _data(runs), _failures(runs)]
    return [section for section in found if section is not None and section.blocks]


def thinned(points: Sequence[tuple[float, float]], most: int = POINTS) -> Points:
    """At most `most` points: means of equal numbers of neighbours, the last group may be smaller."""
    width = -(-len(points) // most)
    if width <= 1:
        return list(points)
    groups = [points[i : i + width] for i in range(0, len(points), width)]
    return [(statistics.fmean(x for x, _ in group), statistics.fmean(y for _, y in group)) for group in groups]


def _read(file: Path, name: str) -> Run:
    if not file.is_file():
        raise UsageError(f"{file}: no metrics there. Name the --out of a run that has made a step")
    steps = [step for step in _objects(file) if isinstance(step.get("step"), int)]
    if not steps:
        raise UsageError(f"{file}: holds no step. Wait for the first one")
    failures: dict[str, list[str]] = {}
    for failed in _objects(file.with_name("quarantine.jsonl")):
        failures.setdefault(str(failed.get("error", "")), []).append(
            f"{failed.get('key', '')}: {failed.get('message', '')}"
        )
    return Run(name=name, steps=sorted(steps, key=lambda step: step["step"]), failures=failures)


def _objects(file: Path) -> list[dict[str, Any]]:
    """The JSON objects of a line file, [] without one; a line that a kill cut short is left out, since a resumed run writes it again."""
    found = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else ():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _names(files: Sequence[Path]) -> list[str]:
    """The directory's name, with a number where two are alike."""
    names = [file.absolute().parent.name for file in files]
    return [n if names.count(n) == 1 else f"{n} ({i + 1})" for i, n in enumerate(names)]


def _summary(runs: Sequence[Run]) -> Section:
    rows = []
    for run in runs:
        seconds, wait = sum(run.values("seconds")), sum(run.values("data_wait"))
        losses = run.values("loss")
        end = losses[-max(1, round(LAST * len(losses))) :] or [float("nan")]
        rows.append((
            run.name, run.steps[-1]["step"], sum(run.values("samples")), sum(run.values("tokens")), losses[0] if losses else None,
            statistics.fmean(end) if losses else None, _median(run.values("tokens_per_second")),
            Share(_median(run.values("mfu")) or 0.0), Share(wait / seconds) if seconds else None,
            run.steps[-1].get("skipped"), run.steps[-1].get("failures"), seconds / 3600 if seconds else None,
        ))  # fmt: skip
    columns = (
        "run", "steps", "samples", "tokens", "first loss", f"loss, mean of the last {LAST:.0%}", "tokens/s, median", "MFU, median",
        "waiting for data", "steps skipped", "samples failed", "hours",
    )  # fmt: skip
    return Section(title="Runs", blocks=[Table(title="Runs", columns=columns, rows=rows)])


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _chart(runs: Sequence[Run], name: str, *, title: str, look: str, y: str, log: bool = False) -> list[Block]:
    """One line per run of a field; nothing when no run has it."""
    series = {run.name: run.points(lambda step: step.get(name)) for run in runs[:MANY]}
    return _lines(series, title=title, look=look, y=y, log=log)


def _lines(series: Mapping[str, Points], *, title: str, look: str, y: str, log: bool = False) -> list[Block]:
    shown = {name: points for name, points in series.items() if points}
    if not shown:
        return []
    positive = all(value > 0 for points in shown.values() for _, value in points)
    return [Chart(title=title, look=look, svg=lines(shown, x="optimizer step", y=y, log=log and positive))]


def _loss(runs: Sequence[Run]) -> Section:
    look = "It should fall and flatten; a step up that stays marks bad data or too high a rate."
    blocks = _chart(runs, "loss", title="Loss", look=look, y="nats per supervised token")
    for run in runs:
        seen = Counter(branch for step in run.steps for branch in step.get("loss_by_branch") or {})
        series = {
            branch: run.points(lambda step, branch=branch: (step.get("loss_by_branch") or {}).get(branch))
            for branch, _ in seen.most_common(MANY)
        }
        look = "A branch that does not fall with the others is too hard, too dirty, or too rare."
        blocks += _lines(
            dict(sorted(series.items())), title=f"Loss by branch, {run.name}", look=look, y="nats per token"
        )
    lead = f"Each point is a mean over a stretch of steps, at most {POINTS} of them."
    return Section(title="Loss", lead=lead, blocks=blocks)


def _speed(runs: Sequence[Run]) -> Section:
    blocks = _chart(
        runs, "tokens_per_second", title="Throughput", y="tokens per second",
        look="Language tokens over all ranks. A sawtooth is uneven packs; a slow decline is memory or a filling disk.",
    )  # fmt: skip
    blocks += _chart(
        runs, "mfu", title="MFU", y="share of peak FLOPs",
        look="Model FLOPs over what the device could do; recomputation is not counted as work.",
    )  # fmt: skip
    blocks += _chart(
        runs, "data_wait", title="Data wait", y="seconds per step",
        look="Above a few hundredths of a step's time the loader is the bottleneck: more workers.",
    )  # fmt: skip
    return Section(title="Speed", blocks=blocks)


def _optimizer(runs: Sequence[Run]) -> Section:
    blocks = _chart(
        runs, "lr", title="Learning rate", look="Warm-up, then cosine to zero.", y="rate of the first group"
    )
    look = "Single peaks are clipped; a rising floor comes before divergence."
    blocks += _chart(runs, "grad_norm", title="Gradient norm", look=look, y="norm before clipping", log=True)
    look = "Steps without a finite gradient are left out; the line must stay flat."
    blocks += _chart(runs, "skipped", title="Skipped steps", look=look, y="steps skipped so far")
    return Section(title="Optimizer", blocks=blocks)


def _data(runs: Sequence[Run]) -> Section:
    blocks = _chart(
        runs,
        "samples",
        title="Samples",
        look="Many short samples per step mean small losses of each.",
        y="samples per step",
    )
    look = "Share of visual tokens that equal the frame before and are left out (DiffFP)."
    blocks += _chart(runs, "pruned_share", title="Pruned", look=look, y="share of visual tokens")
    return Section(title="Data", blocks=blocks)


def _failures(runs: Sequence[Run]) -> Section | None:
    rows = [(run.name, error, len(said), said[0][:300]) for run in runs for error, said in sorted(run.failures.items())]
    if not rows:
        return None
    table = Table(columns=("run", "error", "samples", "first of them"), rows=rows)
    return Section(
        title="Failed samples", lead="Samples that the loader put aside, from quarantine.jsonl.", blocks=[table]
    )
