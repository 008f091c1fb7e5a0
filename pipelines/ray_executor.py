"""Ray: runs tasks on a Ray cluster, an existing one (RAY_ADDRESS) or one of its own on this machine.

Ray core tasks only: the graph is ours. Tasks carry a part's name and return facts; encoded bytes and pixels never enter Ray's object
store. The output directory must be visible to every node.
"""

import os
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.metrics import Counter, Gauge
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.guard import Place, read_place
from pipelines.local import ONE_THREAD, attempt_task, environment
from pipelines.schedule import Outcome
from pipelines.work import Job, Task, Worker

ASK_SECONDS = 20.0
_workers: dict[int, Worker] = {}  # one per process: weights and tokenizers are loaded once


def _do(job: Job, task: Task, cursor: Path) -> tuple[dict[str, Any] | None, str]:
    """In a Ray worker: do one task."""
    key = hash(job)
    if key not in _workers:
        _workers.clear()
        _workers[key] = Worker(job)
    cursor.parent.mkdir(parents=True, exist_ok=True)  # for an output in a store it lies on each node
    return attempt_task(_workers[key], task, cursor)


class RayExecutor:
    """Runs tasks on Ray. Dead workers, killed tasks and lost nodes come back as `died`, never retried by Ray itself."""

    def __init__(self, job: Job, cursors: Path, *, workers: int | None) -> None:
        self._own = "RAY_ADDRESS" not in os.environ and not ray.is_initialized()
        if not ray.is_initialized():
            _connect(workers)
        cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
        # Where Ray itself bounds what runs, a few tasks wait there, so that no worker waits for the driver.
        waiting = max(1, cpus // 4)
        self.slots = cpus + waiting if workers is None or workers >= cpus else workers
        self.cursors = cursors
        self._job = job  # a few kilobytes, sent with each task: an object would have to be fetched from its owner
        # On a cluster that was there before us, the environment must travel with the task.
        options: dict[str, Any] = {} if self._own else {"runtime_env": {"env_vars": ONE_THREAD}}
        self._remote = ray.remote(max_retries=0, num_cpus=1, **options)(_do)
        self._flying: dict[Any, Task] = {}
        self._metrics = _Metrics()

    def submit(self, task: Task) -> None:
        """Start a Ray task."""
        needs = {"num_cpus": task.placement.cpus, "num_gpus": task.placement.gpus}
        reference = self._remote.options(**needs).remote(self._job, task, self._cursor(task))
        self._flying[reference] = task

    def _cursor(self, task: Task) -> Path:
        return self.cursors / f"{task.name}.json"

    def wait(self, seconds: float) -> list[Outcome]:
        """Ray tasks that ended."""
        ready, _ = ray.wait(list(self._flying), num_returns=1, timeout=seconds)
        outcomes = [self._outcome(reference) for reference in ready]
        self._metrics.take(outcomes, in_flight=len(self._flying))
        return outcomes

    def _outcome(self, reference: Any) -> Outcome:
        task = self._flying.pop(reference)
        try:
            facts, error = ray.get(reference)
        except RayTaskError as failure:  # an error of ours, with its traceback: nothing to retry
            return Outcome(task=task, error=f"{task}: {failure}")
        except RayError as failure:
            return Outcome(task=task, died=type(failure).__name__)
        return Outcome(task=task, facts=facts, error=error)

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
        for reference in self._flying:
            ray.cancel(reference, force=True)
        if self._own:
            ray.shutdown()


class _Metrics:
    """What Ray's own exporter shows to Prometheus, beside the cluster's CPU, memory and GPU use."""

    def __init__(self) -> None:
        self._tasks = Counter("vl3_tasks", description="tasks that ended", tag_keys=("kind", "branch", "end"))
        self._samples = Counter("vl3_samples", description="samples by fate", tag_keys=("branch", "node", "fate"))
        self._in_flight = Gauge("vl3_tasks_in_flight", description="tasks submitted and not ended")

    def take(self, outcomes: list[Outcome], *, in_flight: int) -> None:
        """Count some outcomes. What was already committed is not counted: rates are of work."""
        self._in_flight.set(in_flight)
        for outcome in outcomes:
            facts, branch = outcome.facts or {}, outcome.task.branch
            end = "died" if outcome.died else "failed" if outcome.error else "reused" if facts.get("reused") else "done"
            self._tasks.inc(1, {"kind": outcome.task.kind, "branch": branch, "end": end})
            for node, counts in ({} if end == "reused" else facts.get("nodes", {})).items():
                fates = {
                    "kept": counts["kept"],
                    "quarantined": counts["quarantined"],
                    "dropped": sum(counts["dropped"].values()),
                }
                for fate, number in fates.items():
                    if number:
                        self._samples.inc(number, {"branch": branch, "node": node, "fate": fate})


def _connect(workers: int | None) -> None:
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**quiet)
        return
    # The store holds task names and facts only; the default of a third of the memory would be taken from decoders.
    with environment(ONE_THREAD):
        ray.init(address="local", num_cpus=workers, include_dashboard=False, object_store_memory=128 << 20, **quiet)
