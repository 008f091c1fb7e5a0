"""Lives: what a run's drivers told before they were killed, and what each death cost."""

import contextlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def events(out: Path) -> list[dict[str, Any]]:
    """Everything that all runs of OUT told; a killed driver's last line may be torn."""
    told, path = [], out / "run.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            told.append(json.loads(line))
    return told


def tasks_done(out: Path) -> Counter[str]:
    """How often each task was really done."""
    return Counter(e["task"] for e in events(out) if e["event"] == "task" and not e["reused"])


def begins(out: Path) -> int:
    """How many drivers began their work."""
    return sum(e["event"] == "begun" for e in events(out))


def seconds_of(out: Path) -> dict[str, float]:
    """What each task took when it was done."""
    return {e["task"]: e["seconds"] for e in events(out) if e["event"] == "task" and not e["reused"]}


@dataclass(frozen=True, kw_only=True)
class Killed:
    """A life from its birth to its end, in seconds since the epoch, and the tasks that were begun in it and whose end was never told."""

    born: float
    at: float
    open: tuple[str, ...]


def killed_at(out: Path, *, born: float, at: float) -> Killed:
    """What was open when a driver was killed: a worker that begins a task opens its cursor."""
    cursors = (out / "work" / "cursors").glob("*.json")
    begun = {cursor.stem for cursor in cursors if cursor.stat().st_mtime >= born}
    told = {e["task"] for e in events(out) if e["event"] == "task" and e["time"] >= born}
    return Killed(born=born, at=at, open=tuple(sorted(begun - told)))


def begun_again(out: Path, deaths: list[Killed], seconds: dict[str, float]) -> list[list[float]]:
    """Per death the seconds lost with the tasks that were open: at most what each takes undisturbed, and the driver's life.

    What was committed, but not yet told, is found by the next driver: it costs nothing.
    """
    told, ends = [e for e in events(out) if e["event"] == "task"], [*(d.at for d in deaths[1:]), float("inf")]
    lost = []
    for death, end in zip(deaths, ends, strict=True):
        found = {e["task"] for e in told if death.at <= e["time"] < end and e["reused"]}
        lost.append([min(seconds[name], death.at - death.born) for name in death.open if name not in found])
    return lost
