"""Local: runs tasks in worker processes of this machine; with no workers, in this very process (for debugging: nothing guards it).

The specification: whatever another executor does, its datasets equal this one's byte for byte.
"""

import ctypes
import multiprocessing
import os
import resource
import signal
import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from curation.operator import ContractError, OperatorError, RecipeError
from pipelines.guard import Place, read_place
from pipelines.journal import commit_of
from pipelines.recipe import Placement
from pipelines.schedule import Outcome
from pipelines.work import Job, Task, Worker

# Workers do one thing at a time; the libraries' own threads would only fight over the cores. Must be set before they are imported.
ONE_THREAD: dict[str, str] = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "RAYON_NUM_THREADS",
        "NUMBA_NUM_THREADS",
    ),
    "1",
)
ONE_THREAD["TOKENIZERS_PARALLELISM"] = "false"
# What a worker takes: libraries, a batch, twice a part's text and tables. A placement may ask for more.
WORKER_BYTES = 768 << 20


class InProcess:
    """Runs each task when it is submitted."""

    def __init__(self, job: Job, cursors: Path) -> None:
        self.slots = 1
        self.cursors = cursors
        self._worker = Worker(job)
        self._outcomes: list[Outcome] = []

    def submit(self, task: Task) -> None:
        """Do it now."""
        self._outcomes.append(Outcome(task=task, facts=self._worker.do(task)))

    def free(self, placement: Placement) -> bool:  # noqa: ARG002  one at a time
        """Always."""
        return True

    def wait(self, seconds: float) -> list[Outcome]:  # noqa: ARG002  everything is done already
        """What was submitted."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def place(self, task: Task) -> Place | None:  # noqa: ARG002  a death here is the driver's own
        """None."""
        return None

    def close(self) -> None:
        """Nothing to stop."""


class ProcessPool:
    """Worker processes that are replaced when they die."""

    def __init__(self, job: Job, cursors: Path, *, workers: int) -> None:
        self.slots = workers
        self.cursors = cursors
        self._job = job
        self._context = multiprocessing.get_context("spawn")
        self._idle: list[_Child] = []
        self._busy: dict[Connection, tuple[_Child, Task]] = {}
        cursors.mkdir(parents=True, exist_ok=True)

    def submit(self, task: Task) -> None:
        """Hand a task to an idle worker, or a new one."""
        message = (task, self.cursors / f"{task.name}.json")
        while self._idle:
            child = self._idle.pop()
            try:
                child.pipe.send(message)
            except OSError:  # it was killed while it had nothing to do
                child.process.join()
                continue
            self._busy[child.pipe] = (child, task)
            return
        child = self._spawn()
        child.pipe.send(message)
        self._busy[child.pipe] = (child, task)

    def _spawn(self) -> "_Child":
        ours, theirs = self._context.Pipe()
        with environment(ONE_THREAD):
            process = self._context.Process(target=_serve, args=(self._job, theirs), daemon=True)
            process.start()
        theirs.close()
        return _Child(process, ours)

    def free(self, placement: Placement) -> bool:  # noqa: ARG002  all workers are alike
        """Always: slots are workers."""
        return True

    def wait(self, seconds: float) -> list[Outcome]:
        """Results, and tasks whose worker is gone."""
        outcomes = []
        for pipe in wait(list(self._busy), timeout=seconds):
            assert isinstance(pipe, Connection)
            child, task = self._busy.pop(pipe)
            try:
                facts, error = pipe.recv()
                outcomes.append(Outcome(task=task, facts=facts, error=error))
                self._idle.append(child)
            except (EOFError, OSError):  # reset where it died before it had read all
                child.process.join()
                outcomes.append(Outcome(task=task, died=_died(child.process.exitcode)))
        return outcomes

    def place(self, task: Task) -> Place | None:
        """What the task's cursor says."""
        return read_place(self.cursors / f"{task.name}.json")

    def close(self) -> None:
        """End all workers; unfinished tasks are simply not committed."""
        for child in [*self._idle, *(child for child, _ in self._busy.values())]:
            child.process.kill()
            child.process.join()
            child.pipe.close()


class _Child:
    def __init__(self, process: BaseProcess, pipe: Connection) -> None:
        self.process = process
        self.pipe = pipe


def _died(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"signal {signal.Signals(-exitcode).name}"
    return f"exit code {exitcode}"


def _serve(job: Job, pipe: Connection) -> None:
    """A worker's life: tasks in, facts out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: never outlive a driver that was killed
    worker = Worker(job)
    while True:
        try:
            task, cursor = pipe.recv()
        except EOFError:
            return
        pipe.send(attempt_task(worker, task, cursor))


def attempt_task(worker: Worker, task: Task, cursor: Path | None) -> tuple[dict | None, str]:
    """(facts, "") or (None, why the run must stop). Facts come with what the task took, where: for those who watch."""
    start = time.perf_counter()
    try:
        facts = worker.do(task, cursor)
        files = worker.store.stamps(*commit_of(task, worker.plan, worker.plan_id))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        watched = {"took": time.perf_counter() - start, "host": socket.gethostname(), "peak_bytes": peak}
        return {**facts, **watched, "files": files}, ""
    except (OperatorError, RecipeError, ContractError) as error:
        return None, str(error)
    except OSError as error:
        return None, f"{task}: {error}: the store or the disk failed; make room or repair it, then run again to resume"
    except Exception:  # noqa: BLE001  a fault of ours: the driver must hear of it with its traceback, wherever the worker is
        return None, f"{task}: unexpected failure in a worker:\n{traceback.format_exc()}"


def default_workers() -> int:
    """As many as there are cores for, and memory: on a machine with little of it, fewer."""
    free = next(
        (
            int(line.split()[1]) * 1024
            for line in Path("/proc/meminfo").read_text().splitlines()
            if line.startswith("MemAvailable")
        ),
        0,
    )
    return max(1, min(len(os.sched_getaffinity(0)), free // WORKER_BYTES))


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for the processes that the block starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
