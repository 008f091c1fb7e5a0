"""Progress: what a person sees while a run goes on: per node, what went in and out, how fast, how long still, where it is stuck.

On a terminal the table is redrawn in place; in a log it is one plain line every ten seconds; from another shell, `vl3-curate status`.
"""

import sys
import time
from collections import Counter
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipelines.accounts import Accounts
from pipelines.events import Events
from pipelines.plan import Plan
from pipelines.work import Task

LOG_SECONDS = 10.0


class Progress:
    """Counts what tasks report, shows it on stderr and writes it to OUT. `quiet` shows nothing."""

    def __init__(self, plan: Plan, *, quiet: bool = False) -> None:
        self._plan = plan
        self._start = time.monotonic()
        self._console = Console(stderr=True)
        self._live = (
            Live(console=self._console, refresh_per_second=2) if self._console.is_terminal and not quiet else None
        )
        self._log = not quiet and self._live is None
        self._logged = self._shown = self._start
        self._events = Events(plan.out)
        self.accounts = Accounts(plan)
        self._found = 0
        self._parts: Counter[str] = Counter()
        self._total = {branch.name: len(branch.parts) for branch in plan.branches}
        self._phase = "passes"
        self._flying: dict[str, float] = {}
        self._slowest: tuple[float, str] = (0.0, "")
        self._peaks: dict[str, int] = {}
        self._failures: Counter[str] = Counter()
        self.counters: Counter[str] = Counter()
        self.reused = 0
        self.tasks = 0
        self._events.add("begun", plan=plan.id, parts=sum(self._total.values()))
        if self._live:
            self._live.start()

    def started(self, task: Task) -> None:
        """A task was handed to a worker."""
        self._flying[task.name] = time.monotonic()
        self._say_found()

    def _say_found(self) -> None:
        if self._found:
            self._events.add("found", tasks=self._found)
            self._found = 0

    def died(self, task: Task, how: str) -> None:
        """Its worker is gone; it will be tried again."""
        self._flying.pop(task.name, None)
        self._failures["workers died"] += 1
        self._events.add("died", task=task.name, how=how)

    def found(self, task: Task, facts: dict[str, Any]) -> None:
        """The journal says that a task is done. There may be a million: they make one event together."""
        self._found += 1
        self._add(task, facts)

    def finished(self, task: Task, facts: dict[str, Any]) -> None:
        """A worker did a task."""
        self._flying.pop(task.name, None)
        if not facts.get("reused"):
            self.counters.update(facts.get("counters", {}))
        self._add(task, facts)
        self._note(task, facts)

    def _add(self, task: Task, facts: dict[str, Any]) -> None:
        self.tasks += 1
        self.reused += bool(facts.get("reused"))
        self._phase = task.kind
        if task.kind == "pass" and task.segment == 0:
            self._parts[task.branch] += 1
        self.accounts.add(task.kind, task.branch, facts)

    def _note(self, task: Task, facts: dict[str, Any]) -> None:
        took, host, peak = facts.get("took", 0.0), facts.get("host", ""), facts.get("peak_bytes", 0)
        self._slowest = max(self._slowest, (took, task.name))
        self._peaks[host] = max(peak, self._peaks.get(host, 0))
        self._events.add(
            "task", task=task.name, seconds=round(took, 3), host=host, peak_bytes=peak, reused=bool(facts.get("reused"))
        )

    def show(self) -> None:
        """Redraw, or log when it is time."""
        if time.monotonic() - self._shown < 0.5:
            return
        self._shown = time.monotonic()
        self._events.say(self.state())
        if self._live:
            self._live.update(Group(Text(self.line()), node_table(self.state()), Text(watch_line(self.state()))))
        elif self._log and time.monotonic() - self._logged > LOG_SECONDS:
            self._logged = time.monotonic()
            print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """The state in one line."""
        return state_line(self.state())

    def state(self, *, ended: str = "") -> dict[str, Any]:
        """Everything a watcher wants to know, as JSON. ended: "" while it goes on, "done", or why it stopped."""
        now = time.monotonic()
        told = self.accounts.nodes
        nodes = [_row(branch, node, counts) for branch in told for node, counts in told[branch].items()]
        read = sum(told[b.name][b.source.name]["seen"] for b in self._plan.branches if b.source.name in told[b.name])
        oldest = min(self._flying.items(), key=lambda item: item[1], default=("", now))
        return {
            "plan": self._plan.id, "elapsed": round(now - self._start, 1), "phase": self._phase, "ended": ended,
            "parts": [sum(self._parts.values()), sum(self._total.values())],
            "read": read,
            "in_flight": len(self._flying), "oldest": [oldest[0], round(now - oldest[1], 1)],
            "slowest": [self._slowest[1], round(self._slowest[0], 1)],
            "peak_bytes": self._peaks, "failures": dict(self._failures), "nodes": nodes,
        }  # fmt: skip

    def close(self, ended: str = "done") -> None:
        """Say how it ended, and leave the terminal as it is."""
        self._say_found()
        self._events.add("ended", how=ended)
        self._events.say(self.state(ended=ended), now=True)
        self._events.close()
        if self._live:
            self._live.stop()

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._start


def _row(branch: str, node: str, counts: Counter[str]) -> dict[str, Any]:
    dropped = sum(number for key, number in counts.items() if key.startswith("dropped."))
    shown = {key: counts[key] for key in ("seen", "kept", "quarantined", "milliseconds")}
    return {"branch": branch, "node": node, **shown, "dropped": dropped}


def state_line(state: dict[str, Any]) -> str:
    """A state in one line: time, phase, parts, samples and their rate, tasks in flight, and how long still."""
    elapsed, (done, total) = state["elapsed"], state["parts"]
    rate = f"{state['read'] / elapsed:,.0f}/s" if elapsed else ""
    left = f"first passes end in about {elapsed * (total - done) / done:,.0f} s" if 0 < done < total else ""
    return (
        f"{elapsed:7.1f} s  {state['phase']:8s} {done:,}/{total:,} parts  {state['read']:,} samples read, {rate}  "
        f"{state['in_flight']} in flight  {left}"
    )


def watch_line(state: dict[str, Any]) -> str:
    """What to keep an eye on: the task in flight for longest, the slowest so far, memory per host, what went wrong."""
    (name, age), (slow, took) = state["oldest"], state["slowest"]
    parts = [f"in flight for {age:,.0f} s: {name}" if name else "", f"slowest: {slow} {took:,.1f} s" if slow else ""]
    parts += [f"{host}: {peak / 1e9:.2f} GB per worker" for host, peak in sorted(state["peak_bytes"].items()) if host]
    parts += [f"{count} {what}" for what, count in state["failures"].items()]
    return "   ".join(part for part in parts if part)


def node_table(state: dict[str, Any]) -> Table:
    """What went into every node and out of it, and its rate on one worker."""
    table = Table(box=None)
    for column in ("branch", "node", "seen", "kept", "", "dropped", "quarantined", "per second"):
        table.add_column(column, justify="left" if column in ("branch", "node") else "right")
    for counts in state["nodes"]:
        seconds, seen = counts.get("milliseconds", 0) / 1000, counts.get("seen", 0)
        kept = counts.get("kept", 0)
        share = f"{100 * kept / seen:.1f} %" if seen else ""
        rate = f"{seen / seconds:,.0f}" if seconds else ""
        numbers = [
            f"{seen:,}",
            f"{kept:,}",
            share,
            f"{counts.get('dropped', 0):,}",
            f"{counts.get('quarantined', 0):,}",
        ]
        table.add_row(escape(counts["branch"]), escape(counts["node"]), *numbers, rate)
    return table
