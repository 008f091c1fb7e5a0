"""Metrics: what a run on Ray counts for Prometheus, beside the cluster's own CPU, memory and GPU use.

Ray's exporter puts `ray_` before each name. Knows nothing of Ray: its executor says what a counter and a gauge are.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from pipelines.schedule import Outcome
from pipelines.work import Task


class Meter(Protocol):
    """A counter or gauge as Ray's metrics API has them."""

    def inc(self, value: float, tags: dict[str, str], /) -> None:
        """Count."""
        ...

    def set(self, value: float, tags: dict[str, str], /) -> None:
        """Show."""
        ...


class Metrics:
    """Counts what tasks report; what was committed before this run is not counted, so that rates are of work.

    Args:
        counter, gauge: make one from its name, description and tags.
    """

    def __init__(self, counter: Callable[..., Any], gauge: Callable[..., Any]) -> None:
        self._tasks: Meter = counter("vl3_tasks", "tasks that ended", ("kind", "branch", "end"))
        self._samples: Meter = counter("vl3_samples", "samples by fate", ("branch", "node", "fate"))
        self._bytes: Meter = counter("vl3_bytes", "encoded media, read or put into shards", ("branch", "node"))
        self._seconds: Meter = counter("vl3_seconds", "time of workers", ("branch", "node"))
        self._in_flight: Meter = gauge("vl3_in_flight", "tasks submitted and not ended", ("kind", "branch"))
        self._flying: Counter[tuple[str, str]] = Counter()

    def take(self, outcomes: Iterable[Outcome], flying: Iterable[Task]) -> None:
        """Count what ended, and show what is in flight now."""
        for outcome in outcomes:
            facts, task = outcome.facts or {}, outcome.task
            end = "died" if outcome.died else "failed" if outcome.error else "reused" if facts.get("reused") else "done"
            self._tasks.inc(1, {"kind": task.kind, "branch": task.branch, "end": end})
            if end == "done":
                self._work(task, facts)
        now = Counter((task.kind, task.branch) for task in flying)
        for kind, branch in {*now, *self._flying}:
            self._in_flight.set(now[kind, branch], {"kind": kind, "branch": branch})
        self._flying = now

    def _work(self, task: Task, facts: Mapping[str, Any]) -> None:
        for node, counts in facts.get("nodes", {}).items():
            at = {"branch": task.branch, "node": node}
            fates = {
                "kept": counts["kept"],
                "dropped": sum(counts["dropped"].values()),
                "quarantined": counts["quarantined"],
            }
            for fate, number in fates.items():
                _add(self._samples, number, at | {"fate": fate})
            _add(self._bytes, counts.get("bytes", 0), at)
            _add(self._seconds, counts.get("seconds", 0.0), at)
        if task.kind == "settle":
            _add(self._bytes, facts["branch"]["bytes"], {"branch": task.branch, "node": "shards"})


def _add(meter: Meter, number: float, tags: dict[str, str]) -> None:
    if number:  # Ray refuses to count nothing
        meter.inc(number, tags)
