"""Ray: runs tasks on a Ray cluster, an existing one (RAY_ADDRESS) or one of its own on this machine.

Ray core only: the graph is ours. What needs a GPU goes to actors that keep their share of one, everything else to tasks. Either carries
a part's name and returns facts; encoded bytes and pixels never enter Ray's object store. The output directory must be visible to every
node. Each worker asks for memory as for a CPU, so a node with little of it gets fewer.
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.metrics import Counter, Gauge
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.actors import Pool, room_for
from pipelines.guard import Place, read_place
from pipelines.local import ONE_THREAD, WORKER_BYTES, attempt_task, environment
from pipelines.metrics import Metrics
from pipelines.recipe import Placement
from pipelines.schedule import NOT_BEGUN, Outcome
from pipelines.work import Job, Task, Worker

ASK_SECONDS = 20.0
ASK_AGAIN_SECONDS = 5.0
_workers: dict[int, Worker] = {}  # one per process: weights and tokenizers are loaded once


def _do(job: Job, task: Task, cursor: Path) -> tuple[dict[str, Any] | None, str]:
    """In a Ray worker: do one task."""
    key = hash(job)
    if key not in _workers:
        _workers.clear()
        _workers[key] = Worker(job)
    cursor.parent.mkdir(parents=True, exist_ok=True)  # for an output in a store it lies on each node
    return attempt_task(_workers[key], task, cursor)


class _Keeper:
    """A Ray actor that does tasks like `_do`, always on its own share of a GPU."""

    def do(self, job: Job, task: Task, cursor: Path) -> tuple[dict[str, Any] | None, str]:
        """Do one task."""
        return _do(job, task, cursor)


class RayExecutor:
    """Runs tasks on Ray. Dead workers, killed tasks and lost nodes come back as `died`, never retried by Ray itself."""

    def __init__(self, job: Job, cursors: Path, *, workers: int | None) -> None:
        self._own = "RAY_ADDRESS" not in os.environ and not ray.is_initialized()
        if not ray.is_initialized():
            _connect(workers)
        self._seen = 0.0
        self._resources: dict[str, float] = {}
        cpus = max(1, int(self._cluster().get("CPU", 1)))
        # No node has more; where none has as much as a worker wants, there is one worker at a time.
        self._most = max((n["Resources"].get("memory", 0.0) for n in ray.nodes() if n["Alive"]), default=0.0)
        # Where Ray itself bounds what runs, a few tasks wait there, so that no worker waits for the driver.
        waiting = max(1, cpus // 4)
        self.slots = cpus + waiting if workers is None or workers >= cpus else workers
        self.cursors = cursors
        self._job = job  # a few kilobytes, sent with each task: an object would have to be fetched from its owner
        # On a cluster that was there before us, the environment must travel with the task.
        self._options: dict[str, Any] = {} if self._own else {"runtime_env": {"env_vars": ONE_THREAD}}
        self._remote = ray.remote(max_retries=0, num_cpus=1, **self._options)(_do)
        self._pools: dict[Placement, Pool] = {}
        self._flying: dict[Any, Task] = {}
        self._metrics = Metrics(Counter, Gauge)

    def _cluster(self) -> dict[str, float]:
        """All its resources, asked again now and then: it may grow."""
        if time.monotonic() - self._seen > ASK_AGAIN_SECONDS:
            self._seen = time.monotonic()
            self._resources = {name: float(number) for name, number in ray.cluster_resources().items()}
        return self._resources

    def free(self, placement: Placement) -> bool:
        """Whether a task of this placement would be done soon."""
        return not self._kept(placement) or self._pool(placement).free

    def _kept(self, placement: Placement) -> bool:
        """Whether it goes to an actor. On a machine of our own without a GPU there is none to keep."""
        return placement.gpus > 0 and not (self._own and not self._cluster().get("GPU"))

    def _pool(self, placement: Placement) -> Pool:
        if placement not in self._pools:
            keeper = ray.remote(max_restarts=0, max_task_retries=0, **self._needs(placement), **self._options)(_Keeper)
            self._pools[placement] = Pool(keeper.remote, ray.kill, lambda: room_for(placement, self._cluster()))
        return self._pools[placement]

    def submit(self, task: Task) -> None:
        """Start a Ray task, or give it to an actor."""
        what = self._job, task, self._cursor(task)
        if self._kept(task.placement):
            reference = self._pool(task.placement).submit(*what)
        else:
            reference = self._remote.options(**self._needs(replace(task.placement, gpus=0.0))).remote(*what)
        self._flying[reference] = task

    def _needs(self, placement: Placement) -> dict[str, Any]:
        """What Ray must find free on a node."""
        memory = int(min(placement.memory or WORKER_BYTES, self._most))
        return {"num_cpus": placement.cpus, "num_gpus": placement.gpus, "memory": memory}

    def _cursor(self, task: Task) -> Path:
        return self.cursors / f"{task.name}.json"

    def wait(self, seconds: float) -> list[Outcome]:
        """Tasks that ended: the first, and all that ended with it."""
        ready, _ = ray.wait(list(self._flying), num_returns=1, timeout=seconds)
        if ready:
            ready, _ = ray.wait(list(self._flying), num_returns=len(self._flying), timeout=0)
        outcomes = [self._outcome(reference) for reference in ready]
        for pool in self._pools.values():
            pool.release()
        self._metrics.take(outcomes, self._flying.values())
        return outcomes

    def _outcome(self, reference: Any) -> Outcome:
        task = self._flying.pop(reference)
        begun, died = True, ""
        try:
            facts, error = ray.get(reference)
        except RayTaskError as failure:  # an error of ours, with its traceback: nothing to retry
            facts, error = None, f"{task}: {failure}"
        except RayError as failure:
            facts, error, died = None, "", type(failure).__name__
        if self._kept(task.placement):
            begun = self._pool(task.placement).ended(reference, died=bool(died))
        return Outcome(task=task, facts=facts, error=error, died=died if begun or not died else NOT_BEGUN)

    def place(self, task: Task) -> Place | None:
        """What the task's cursor says: here, where OUT is a shared folder, or else on the node where it lies."""
        if place := read_place(self._cursor(task)):
            return place
        asked = [
            ray.remote(num_cpus=0, max_retries=0)(read_place)
            .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
            .remote(self._cursor(task))
            for node in ray.nodes()
            if node["Alive"]
        ]
        answers, _ = ray.wait(asked, num_returns=len(asked), timeout=ASK_SECONDS)
        for answer in answers:
            try:
                if place := ray.get(answer):
                    return place
            except RayError:  # that node is gone, and its cursors with it
                continue
        return None

    def close(self) -> None:
        """Leave the cluster; end it if it is ours."""
        for pool in self._pools.values():
            pool.close()
        for reference, task in self._flying.items():
            if not self._kept(task.placement):
                ray.cancel(reference, force=True)
        if self._own:
            ray.shutdown()


def _connect(workers: int | None) -> None:
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**quiet)
        return
    # The store holds task names and facts only; the default of a third of the memory would be taken from decoders.
    with environment(ONE_THREAD):
        ray.init(address="local", num_cpus=workers, include_dashboard=False, object_store_memory=128 << 20, **quiet)
