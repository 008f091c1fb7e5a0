"""What a million parts cost the driver: planned, committed, and resumed from 90 %. The work itself is left out; everything else is real.

    python benchmarks/million_parts.py [--out /dev/shm/parts] [--parts 100000 1000000] [--fill]

Plan, schedule, journal, progress and commits are those of a run; in place of a worker, `Committing` writes the marker of a task at once,
without the tables. So the seconds are those of one driver and of markers on this file system, one after another. A first run stops at
90 % of the passes, a second resumes it and does the others. Each is a process of its own, so that its peak memory is its own. With
--fill the first run is left out: its markers and journal are written in bulk, to time the resume alone.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.filters import Words
from curation.operator import OperatorError, Part, PartLimits, Source
from curation.sample import BadSample, Sample
from pipelines.guard import Place
from pipelines.journal import Journal, commit_of
from pipelines.plan import Plan, make_plan
from pipelines.progress import Progress
from pipelines.recipe import Placement, Recipe, branch
from pipelines.schedule import Outcome, execute
from pipelines.store import Store
from pipelines.work import Task

ROWS = 2048


@dataclass(frozen=True, kw_only=True)
class Numbered(Source):
    """Parts of a file that is never read."""

    count: int

    def files(self) -> Sequence[str]:
        """None."""
        return ()

    def parts(self, limits: PartLimits) -> Sequence[Part]:
        """Ranges of rows."""
        return [
            Part(uri="big.jsonl", begin=n * limits.rows, end=(n + 1) * limits.rows, rows=limits.rows)
            for n in range(self.count)
        ]

    def read(self, part: Part) -> Iterator[Sample | BadSample]:  # noqa: ARG002
        """Nothing."""
        return iter(())


class Committing:
    """An executor that commits a marker with facts like those of real work, and nothing else."""

    slots = 64

    def __init__(self, plan: Plan, *, stop_after: int) -> None:
        self._plan, self._plan_id, self._store = plan, plan.id, Store(root=plan.out)
        self._left = stop_after
        self._outcomes: list[Outcome] = []
        self.done = 0

    def submit(self, task: Task) -> None:
        """Commit it now."""
        if not self._left:
            raise OperatorError("stopped")
        self._left -= 1
        place = commit_of(task, self._plan, self._plan_id)
        if (facts := self._store.done(*place)) is None:
            facts = self._store.commit(*place, [], _facts(task))
        self.done += 1
        watched = {"took": 1.0, "host": "here", "peak_bytes": 0, "files": self._store.stamps(*place)}
        self._outcomes.append(Outcome(task=task, facts=facts | watched))

    def free(self, placement: Placement) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def wait(self, seconds: float) -> list[Outcome]:  # noqa: ARG002
        """What was submitted."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def place(self, task: Task) -> Place | None:  # noqa: ARG002
        """Nobody dies."""
        return None

    def close(self) -> None:
        """Nothing to stop."""


def _facts(task: Task) -> dict[str, Any]:
    counts = {
        "seen": ROWS,
        "kept": 2000,
        "quarantined": 0,
        "dropped": {"below": 48},
        "measured": ROWS,
        "reused": 0,
        "seconds": 1.5,
    }
    if task.kind == "pass":
        return {"nodes": {"Numbered": counts, "Words": counts, "Count": counts}, "counters": {}}
    if task.kind == "mixture":
        return {"mixture": {}, "shards": 1, "kept": 1, "chosen": 1}
    if task.kind == "shard":
        return {"name": f"{task.number:06d}.tar", "samples": ROWS}
    totals = dict.fromkeys(("samples", "bytes", "text_tokens", "loss_tokens", "patches", "visual_tokens"), 2000)
    part = int(task.part_name.partition("-")[0])
    return {
        "name": task.branch, "read": ROWS, "ended": {"Words.below": 48}, "shards": [part // 100], "branch": totals,
        "licences": {"cc-by-4.0": 2000}, "sources": {"big": 2000},
    }  # fmt: skip


def fill(out: Path, parts: int, count: int) -> None:
    """Markers and journal as `count` passes would have left them."""
    plan = plan_of(out, parts)
    names = plan.branches[0].part_names
    facts = _facts(Task(kind="pass"))
    marker = json.dumps({"files": {}, "facts": facts}, sort_keys=True) + "\n"
    folder = plan.branches[0].segments[0].id
    (out / "work" / folder).mkdir(parents=True)
    with (out / "work" / "journal.jsonl").open("w") as journal:
        for name in names[:count]:
            path = f"work/{folder}/{name}.json"
            with open(out / path, "w") as file:
                file.write(marker)
            stat = os.stat(out / path)  # noqa: PTH116
            files = {path: [stat.st_size, stat.st_mtime_ns]}
            journal.write(
                json.dumps({f"{folder}/{name}": {"facts": facts, "files": files}}, separators=(",", ":")) + "\n"
            )


def plan_of(out: Path, parts: int) -> Plan:
    """One branch of so many parts."""
    texts = branch("text", Numbered(count=parts), Words(low=1))
    return make_plan(Recipe(stage="stage1", branches=(texts,)), out, limits=PartLimits(rows=ROWS))


def one(out: Path, parts: int, stop_after: int) -> None:
    """Plan and run; prints seconds and memory."""
    start = time.perf_counter()
    plan = plan_of(out, parts)
    plan_id, _ = plan.id, plan.branches[0].part_names
    planned = time.perf_counter() - start
    executor = Committing(plan, stop_after=stop_after)
    started = time.perf_counter()
    progress, journal = Progress(plan, quiet=True), Journal(plan, plan_id)
    opened = time.perf_counter() - started
    first = Timed(executor, time.perf_counter())
    ended = "done"
    try:
        execute(plan, first, progress, journal)
    except OperatorError as error:
        ended = str(error)
    progress.close(ended)
    journal.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{parts:,} parts: planned in {planned:.1f} s; journal opened in {opened:.1f} s, first new task {first.first:.1f} s later "
        f"({first.cpu:.1f} s of CPU since the start); {executor.done:,} tasks committed, {progress.reused:,} found done; "
        f"{time.perf_counter() - start:.1f} s in all, {time.process_time():.1f} s of CPU; driver {peak:,.0f} MB; {ended}",
        flush=True,
    )


class Timed:
    """An executor that notes when its first task came."""

    def __init__(self, inner: Committing, start: float) -> None:
        self._inner, self._start = inner, start
        self.first = self.cpu = 0.0
        self.slots = inner.slots
        self.free, self.wait, self.place, self.close = inner.free, inner.wait, inner.place, inner.close

    def submit(self, task: Task) -> None:
        """Hand it on."""
        if not self.first:
            self.first, self.cpu = time.perf_counter() - self._start, time.process_time()
        self._inner.submit(task)


def main() -> None:
    """Every size: 90 % of the passes, and the others."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=Path("/dev/shm/parts"))
    options.add_argument("--parts", type=int, nargs="*", default=[10_000, 100_000])
    options.add_argument("--fill", action="store_true", help="time the resume alone")
    options.add_argument("--one", type=int, nargs=2, metavar=("PARTS", "STOP"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one:
        one(given.out, *given.one)
        return
    for parts in given.parts:
        if given.fill:
            fill(given.out / "out", parts, int(0.9 * parts))
        for stop in (int(0.9 * parts), parts // 10)[given.fill :]:
            command = [sys.executable, __file__, "--out", str(given.out / "out"), "--one", str(parts), str(stop)]
            subprocess.run(command, check=True)
        shutil.rmtree(given.out / "out")


if __name__ == "__main__":
    main()
