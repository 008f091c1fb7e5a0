"""Actors: Ray workers that keep a share of a GPU, and the weights on it, for as long as a run has work for them.

A Ray task may find itself on another GPU than the one before it in the same process, whose weights lie elsewhere by then; an actor keeps
its own. A pool has as many as the cluster has room for, and hands each one task beside the one it does, so that no GPU waits for the
driver. While one actor of a GPU decodes, others compute: shares of a half or a quarter are what keeps it busy.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipelines.recipe import Placement

# An actor that nobody needed for so long gives its share back to the cluster.
IDLE_SECONDS = 30.0
# Tasks in the hands of an actor: one done, one that waits.
DEPTH = 2


@dataclass(kw_only=True)
class _Actor:
    handle: Any
    tasks: deque[Any] = field(default_factory=deque[Any])  # references, the oldest is being done
    idle_since: float = 0.0


class Pool:
    """Actors of one placement. start: makes one; end: ends one; room: how many the cluster may hold, asked again as it grows."""

    def __init__(self, start: Callable[[], Any], end: Callable[[Any], None], room: Callable[[], int]) -> None:
        self._start, self._end, self._room = start, end, room
        self._actors: list[_Actor] = []

    @property
    def free(self) -> bool:
        """Whether a further task would be done at once or as the next."""
        return any(len(actor.tasks) < DEPTH for actor in self._actors) or len(self._actors) < self._room()

    def submit(self, *arguments: Any) -> Any:
        """Give a task to an idle actor, to a new one, or behind the fewest others; returns its reference."""
        actor = min(self._actors, key=lambda each: len(each.tasks), default=None)
        if actor is None or (actor.tasks and len(self._actors) < self._room()):
            actor = _Actor(handle=self._start())
            self._actors.append(actor)
        reference = actor.handle.do.remote(*arguments)
        actor.tasks.append(reference)
        return reference

    def ended(self, reference: Any, *, died: bool) -> bool:
        """Note the end of a task; returns whether its actor had begun it. An actor that died is replaced when a task comes."""
        actor = next(each for each in self._actors if reference in each.tasks)
        begun = actor.tasks[0] == reference
        actor.tasks.remove(reference)
        actor.idle_since = time.monotonic()
        if died and begun:
            # What waited behind it comes back too, one by one, and was not begun.
            actor.tasks.appendleft(None)
        if died and set(actor.tasks) <= {None}:
            self._actors.remove(actor)
        return begun

    def release(self, *, idle: float = IDLE_SECONDS) -> None:
        """End actors without work, so that others may have their share."""
        for actor in [each for each in self._actors if not each.tasks]:
            if time.monotonic() - actor.idle_since >= idle:
                self._end(actor.handle)
                self._actors.remove(actor)

    def close(self) -> None:
        """End all."""
        for actor in self._actors:
            self._end(actor.handle)
        self._actors.clear()


def room_for(placement: Placement, total: dict[str, float]) -> int:
    """Actors of a placement that a cluster can hold: by GPUs, and by CPUs of which one stays for tasks; at least one."""
    by_gpus = total.get("GPU", 0.0) / placement.gpus if placement.gpus else float("inf")
    by_cpus = (total.get("CPU", 1.0) - 1.0) / placement.cpus if placement.cpus else float("inf")
    return max(1, int(min(by_gpus, by_cpus) + 1e-6))
