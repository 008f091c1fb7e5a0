"""Guard: what keeps one sample from taking a worker, and the run, with it.

Before anything that may hang or crash, a worker writes where it is into a small file (the cursor) and pushes its deadline out. A decoder
that hangs cannot hold back the watchdog, which is the system's own timer: its signal ends the process. The driver sees a dead worker in
every case (hang, abort, out of memory), reads the cursor, and runs the part again with these samples one at a time; the one that kills
it twice is quarantined.

How long is too long follows from what was seen: a node that takes milliseconds a sample is given ten seconds, not a minute.
"""

import faulthandler
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

# How a source is called between two of its samples, where nobody can be blamed.
READING = "reading "
# A source may have hours of video to cut before its next sample; and a store may stumble.
READING_TIMES = 10
# Deadlines of a node, as shares of `sample_seconds`, which none exceeds. Two of them, one for the batch and one for the sample alone,
# and the start of another worker must fit into it: a hung sample is named within that time.
FIRST_BATCH, FIRST_SAMPLE, LEAST = 0.4, 0.3, 1 / 6
# Times the longest that was seen: a busy machine and uneven samples.
SLACK = 4.0
SECONDS_PER_BYTE = 2e-6
# Node -> the most seconds per sample that its batches took in this process. The first, which loads and compiles, does not count.
_paces: dict[str, float | None] = {}


class Guard:
    """A worker's cursor and deadline for one task. paced: hold nodes to the rates seen; where no sample can be blamed, it only delays."""

    def __init__(self, cursor: Path | None, *, sample_seconds: float, paced: bool = True) -> None:
        self._cursor = os.open(cursor, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644) if cursor else -1
        self._trace = cursor.with_suffix(".trace").open("w") if cursor else None
        if self._trace is not None:
            # Handled in C, whoever holds the interpreter's lock: where every thread was, and then the end that is the default.
            faulthandler.register(signal.SIGALRM, file=self._trace, all_threads=True, chain=True)
        self._seconds, self._paced = sample_seconds, paced
        self._allowed = sample_seconds
        self._node, self._rows, self._since = "", 0, 0.0

    def at(self, node: str, row: int, rows: int, *, last: int | None = None, since: float | None = None) -> None:
        """Say which samples are worked on now: `rows` of them, from `row` to `last` (unless said otherwise, without gaps).

        since: the time of the monotonic clock at which that began, unless it begins now.
        """
        now = time.monotonic()
        self._noted(now)
        self._node, self._rows, self._since = node, rows, now if since is None else since
        self._allowed = self._deadline()
        if self._cursor >= 0:
            end = row + rows - 1 if last is None else last
            os.pwrite(self._cursor, f"{row} {end} {rows} {node}".ljust(256).encode(), 0)

    def _noted(self, now: float) -> None:
        """Remember how long the node took that is left now."""
        if not self._rows:
            return
        before = _paces.get(self._node, -1.0)
        seen = (now - self._since) / self._rows
        _paces[self._node] = None if before == -1.0 else max(before or 0.0, seen)

    def _deadline(self) -> float:
        if self._node.startswith(READING):
            return READING_TIMES * self._seconds
        if not self._paced:
            return self._seconds
        pace = _paces.get(self._node)
        first = FIRST_SAMPLE if self._rows == 1 else FIRST_BATCH
        wanted = first * self._seconds if pace is None else SLACK * pace * self._rows
        return min(self._seconds, max(LEAST * self._seconds, wanted))

    def beat(self, num_bytes: int = 0) -> None:
        """Progress was made; the next thing takes on `num_bytes` of media and may take two seconds more per megabyte."""
        if self._trace is not None:
            signal.setitimer(signal.ITIMER_REAL, self._allowed + SECONDS_PER_BYTE * num_bytes)

    def close(self) -> None:
        """The task is over: disarm."""
        if self._trace is not None:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            faulthandler.unregister(signal.SIGALRM)
            self._trace.close()
        if self._cursor >= 0:
            os.close(self._cursor)
            self._cursor = -1


@dataclass(frozen=True)
class Place:
    """Where a dead worker was: at `rows` samples from `row` to `last`, in `node`; hung: ended by the watchdog, not by a crash."""

    node: str
    row: int
    last: int
    rows: int
    hung: bool


def read_place(cursor: Path) -> Place | None:
    """What a dead worker's cursor says, or None when it had not begun."""
    try:
        row, last, rows, node = cursor.read_text().strip().split(" ", 3)
        trace = cursor.with_suffix(".trace")
        hung = trace.exists() and trace.stat().st_size > 0
        return Place(node=node, row=int(row), last=int(last), rows=int(rows), hung=hung)
    except (OSError, ValueError):
        return None
