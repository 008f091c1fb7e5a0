"""Ahead: the next batch is read and decoded on a thread of its own while the GPU has this one.

A worker has one cursor and one watchdog. They follow the batch that the GPU has, and the one ahead only while the worker waits for it
(`AheadGuard`): a sample that hangs ahead is named then. One that kills the process ahead is named by the next try, which looks at no
batch ahead of another.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

from pipelines.guard import Guard

T = TypeVar("T")


class AheadGuard:
    """What is done ahead says here where it is; the worker's own guard hears of it while somebody waits (`watched`)."""

    def __init__(self, guard: Guard) -> None:
        self._guard, self._lock, self._watched = guard, threading.Lock(), False
        self._place: tuple[str, int, int, int | None, float] | None = None
        self._bytes = 0

    def at(self, node: str, row: int, rows: int, *, last: int | None = None) -> None:
        """As `Guard.at`."""
        with self._lock:
            self._place = node, row, rows, last, time.monotonic()
            if self._watched:
                self._tell()

    def beat(self, num_bytes: int = 0) -> None:
        """As `Guard.beat`."""
        with self._lock:
            self._bytes = num_bytes
            if self._watched:
                self._guard.beat(num_bytes)

    def watched(self, now: bool) -> None:
        """Whether somebody waits: the deadline of what is done ahead begins then."""
        with self._lock:
            self._watched = now
            if now:
                self._tell()
                self._guard.beat(self._bytes)

    def _tell(self) -> None:
        if self._place is not None:
            node, row, rows, last, since = self._place
            self._guard.at(node, row, rows, last=last, since=since)


class Ahead(Generic[T]):
    """An iterator whose next item is made on another thread while the last one is in use. Use as a context manager."""

    def __init__(self, items: Iterator[T], guard: AheadGuard) -> None:
        self._items, self._guard = items, guard
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._coming: Future[T | None] = self._thread.submit(next, items, None)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        self._wait()
        item = self._coming.result()
        if item is None:
            raise StopIteration
        self._coming = self._thread.submit(next, self._items, None)
        return item

    def _wait(self) -> None:
        if self._coming.done():
            return  # where it ended says nothing of how long it took
        self._guard.watched(True)
        try:
            self._coming.exception()
        finally:
            self._guard.watched(False)

    def __enter__(self) -> "Ahead[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wait()
        self._thread.shutdown()
