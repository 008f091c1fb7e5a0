"""Guard: what keeps one sample from taking a worker, and the run, with it.

Before anything that may hang or crash, a worker writes where it is into a small file (the cursor) and pushes its deadline out. A decoder
that hangs holds no lock on the watchdog, which is a C thread: it ends the process. The driver sees a dead worker in every case (hang,
abort, out of memory), reads the cursor, and runs the part again one sample at a time; the sample that kills it twice is quarantined.
"""

import faulthandler
import os
import time
from dataclasses import dataclass
from pathlib import Path


class Guard:
    """A worker's cursor and deadline for one task."""

    def __init__(self, cursor: Path | None, *, sample_seconds: float) -> None:
        self._cursor = os.open(cursor, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644) if cursor else -1
        self._trace = cursor.with_suffix(".trace").open("w") if cursor else None
        self._seconds = sample_seconds
        self._armed_until = 0.0

    def at(self, node: str, row: int, rows: int) -> None:
        """Say which samples are worked on now: `rows` of them from `row`."""
        if self._cursor >= 0:
            os.pwrite(self._cursor, f"{row} {rows} {node}".ljust(256).encode(), 0)

    def beat(self, num_bytes: int = 0) -> None:
        """Progress was made; the next thing takes on `num_bytes` of media and may take two seconds more per megabyte."""
        if self._trace is None:
            return
        allowed = self._seconds + 2e-6 * num_bytes
        now = time.monotonic()
        # Arming starts a thread, so do it only when a quarter of the time is gone or a large medium needs more.
        if now + 0.75 * allowed > self._armed_until:
            faulthandler.dump_traceback_later(allowed, exit=True, file=self._trace)
            self._armed_until = now + allowed

    def close(self) -> None:
        """The task is over: disarm."""
        if self._trace is not None:
            faulthandler.cancel_dump_traceback_later()
            self._trace.close()
        if self._cursor >= 0:
            os.close(self._cursor)
            self._cursor = -1


@dataclass(frozen=True)
class Place:
    """Where a dead worker was: at `rows` samples from `row` on, in `node`; hung: ended by the watchdog rather than by a crash."""

    node: str
    row: int
    rows: int
    hung: bool


def read_place(cursor: Path) -> Place | None:
    """What a dead worker's cursor says, or None when it had not begun."""
    try:
        row, rows, node = cursor.read_text().strip().split(" ", 2)
        trace = cursor.with_suffix(".trace")
        hung = trace.exists() and "Timeout" in trace.read_text(errors="replace")
        return Place(node=node, row=int(row), rows=int(rows), hung=hung)
    except (OSError, ValueError):
        return None
