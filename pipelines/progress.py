"""Progress: what a person sees while a run goes on: per node, what went in and out, how fast, how long still.

On a terminal the table is redrawn in place; in a log it is one plain line every ten seconds.
"""

import sys
import time
from collections import Counter
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipelines.plan import Plan
from pipelines.work import Task

LOG_SECONDS = 10.0


class Progress:
    """Counts what tasks report and shows it on stderr. `quiet` shows nothing."""

    def __init__(self, plan: Plan, *, quiet: bool = False) -> None:
        self._plan = plan
        self._start = time.monotonic()
        self._console = Console(stderr=True)
        self._live = (
            Live(console=self._console, refresh_per_second=2) if self._console.is_terminal and not quiet else None
        )
        self._log = not quiet and self._live is None
        self._logged = self._start
        self._nodes: dict[tuple[str, str], Counter[str]] = {}
        self._parts: Counter[str] = Counter()
        self._total = {branch.name: len(branch.parts) for branch in plan.branches}
        self._phase = "passes"
        self.counters: Counter[str] = Counter()
        self.reused = 0
        self.tasks = 0
        if self._live:
            self._live.start()

    def finished(self, task: Task, facts: dict[str, Any]) -> None:
        """Add a finished task."""
        self.tasks += 1
        self.reused += bool(facts.get("reused"))
        self._phase = task.kind
        if task.kind == "pass" and task.segment == 0:
            self._parts[task.branch] += 1
        if not facts.get("reused"):
            self.counters.update(facts.get("counters", {}))
        for name, counts in facts.get("nodes", {}).items():
            total = self._nodes.setdefault((task.branch, name), Counter())
            for key in ("seen", "kept", "quarantined"):
                total[key] += counts[key]
            total["milliseconds"] += round(1000 * counts.get("seconds", 0.0))
            total["dropped"] += sum(counts["dropped"].values())

    def show(self, flying: int) -> None:
        """Redraw, or log when it is time."""
        if self._live:
            self._live.update(self._table(flying))
        elif self._log and time.monotonic() - self._logged > LOG_SECONDS:
            self._logged = time.monotonic()
            print(self.line(flying), file=sys.stderr, flush=True)

    def line(self, flying: int = 0) -> str:
        """The state in one line."""
        seen = {
            branch: counts["seen"]
            for (branch, name), counts in self._nodes.items()
            if name == self._plan.branch(branch).source.name
        }
        elapsed = time.monotonic() - self._start
        parts = f"{sum(self._parts.values()):,}/{sum(self._total.values()):,} parts"
        total = sum(seen.values())
        rate = f"{total / elapsed:,.0f}/s" if elapsed else ""
        return f"{elapsed:7.1f} s  {self._phase:8s} {parts}  {total:,} samples read, {rate}  {flying} in flight  {self._eta()}"

    def _eta(self) -> str:
        done, total = sum(self._parts.values()), sum(self._total.values())
        if not done or done == total:
            return ""
        return f"first passes end in about {(time.monotonic() - self._start) * (total - done) / done:,.0f} s"

    def _table(self, flying: int) -> Table:
        table = Table(title=self.line(flying), title_justify="left", box=None)
        for column in ("branch", "node", "seen", "kept", "", "dropped", "quarantined", "per second"):
            table.add_column(column, justify="left" if column in ("branch", "node") else "right")
        for (branch, name), counts in self._nodes.items():
            seconds = counts["milliseconds"] / 1000
            share = f"{100 * counts['kept'] / counts['seen']:.1f} %" if counts["seen"] else ""
            rate = f"{counts['seen'] / seconds:,.0f}" if seconds else ""
            table.add_row(
                branch,
                name,
                f"{counts['seen']:,}",
                f"{counts['kept']:,}",
                share,
                f"{counts['dropped']:,}",
                f"{counts['quarantined']:,}",
                rate,
            )
        return table

    def close(self) -> None:
        """Leave the terminal as it is."""
        if self._live:
            self._live.stop()

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._start
