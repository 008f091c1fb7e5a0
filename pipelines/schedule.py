"""Schedule: which task comes next, and what to do when a worker dies. The same for every executor.

All parts of all branches are in flight together, bounded by the executor's slots; the only barriers are Selects and the mixture.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Protocol

from curation.operator import OperatorError
from curation.select.tasks import TaskedSelect
from pipelines.accounts import Accounts
from pipelines.guard import READING, Place
from pipelines.journal import Journal
from pipelines.passes import FREE_FAILURES
from pipelines.plan import BranchPlan, Plan
from pipelines.progress import Progress
from pipelines.recipe import Placement
from pipelines.select import runs_of
from pipelines.stop import Stop
from pipelines.work import Task

# A task that kills its worker this often without a sample to blame stops the run.
MAX_DEATHS = 4
# Ends that a process brings on itself, and ends of the node below it, as executors name them.
OWN_DOING = {f"signal {name}" for name in ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE")}
NOT_BEGUN = "not begun"  # it waited for a worker that died of another
NODE_LOST = {"NodeDiedError", "ObjectLostError", "OwnerDiedError", "NodePreemptedError", NOT_BEGUN}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a task: its facts, the message of an error that stops the run, or `died` (the worker is gone)."""

    task: Task
    facts: dict[str, Any] | None = None
    error: str = ""
    died: str = ""


class Executor(Protocol):
    """Runs tasks somewhere. `slots`: how many may be in flight."""

    slots: int

    def free(self, placement: Placement) -> bool:
        """Whether a task of this placement may start now; others need not wait for it."""
        ...

    def submit(self, task: Task) -> None:
        """Start a task."""
        ...

    def wait(self, seconds: float) -> list[Outcome]:
        """Tasks that ended, waiting at most so long for the first."""
        ...

    def place(self, task: Task) -> Place | None:
        """Where the worker of a task that died was, if it had begun."""
        ...

    def close(self) -> None:
        """Stop the workers."""
        ...


def execute(plan: Plan, executor: Executor, progress: Progress, journal: Journal) -> Accounts:
    """Run all tasks of a plan; returns what they add up to.

    Raises:
        OperatorError: a task failed for good; what is committed stays, so that the run can be resumed.
    """
    return _Execution(plan, executor, progress, journal).run()


@dataclass(frozen=True, kw_only=True)
class _Queue:
    placement: Placement
    tasks: Iterator[Task]


class _Execution:
    """One run: tasks that may start, tasks in flight, and the one place where they end."""

    def __init__(self, plan: Plan, executor: Executor, progress: Progress, journal: Journal) -> None:
        self.graph = Graph(plan)
        self.executor, self.progress, self.journal = executor, progress, journal
        self.recovery = Recovery(executor)
        self.ready: deque[_Queue] = deque()
        self.flying = 0
        for tasks in self.graph.start():
            self._add(tasks)

    def run(self) -> Accounts:
        with Stop() as stop:
            while True:
                while not stop.asked and self.flying < self.executor.slots and (task := self._next()) is not None:
                    self._start(task)
                if stop.asked and (not self.flying or stop.overdue):
                    raise OperatorError(f"ended by {stop.signal}, {self.flying} tasks in flight given up")
                if not self.flying:
                    return self._accounts()
                for outcome in self.executor.wait(1.0):
                    self.flying -= 1
                    self._take(outcome)
                self.progress.show()

    def _accounts(self) -> Accounts:
        if not self.graph.complete:  # whatever the cause: what is missing must never be called a dataset
            raise OperatorError(
                f"nothing is in flight and no worker takes what is left ({self.graph.describe()}): run again, with more workers"
            )
        return self.progress.accounts

    def _next(self) -> Task | None:
        """The next task that may start; queues take turns, and one whose workers are busy holds up no other."""
        busy = 0
        while busy < len(self.ready):
            queue = self.ready.popleft()
            if not self.executor.free(queue.placement):
                busy += 1
                self.ready.append(queue)
            elif (task := next(queue.tasks, None)) is not None:
                self.ready.append(queue)
                return task
        return None

    def _add(self, tasks: Iterable[Task], *, first: bool = False) -> None:
        """Tasks of one kind that may run now."""
        rest = iter(tasks)
        if (task := next(rest, None)) is not None:
            queue = _Queue(placement=task.placement, tasks=chain([task], rest))
            self.ready.appendleft(queue) if first else self.ready.append(queue)

    def _start(self, task: Task) -> None:
        if (facts := self.journal.known(task)) is not None:
            self.progress.found(task, facts)
            self._follow(task, facts)
            self.progress.show()
            return
        self.executor.submit(task)
        self.progress.started(task)
        self.flying += 1

    def _take(self, outcome: Outcome) -> None:
        if outcome.error:
            raise OperatorError(outcome.error)
        if outcome.died:
            self.progress.died(outcome.task, outcome.died)
            self._add([self.recovery.again(outcome)], first=True)
            return
        assert outcome.facts is not None
        self.journal.add(outcome.task, outcome.facts, outcome.facts.pop("files", {}))
        self.progress.finished(outcome.task, outcome.facts)
        self._follow(outcome.task, outcome.facts)

    def _follow(self, task: Task, facts: dict[str, Any]) -> None:
        self._add(self.graph.done(task, facts))


class Graph:
    """Which tasks a finished task makes possible."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._left: Counter[tuple[str, str, int]] = Counter()
        self._keys: Counter[tuple[str, int, str]] = Counter()  # of a Select's runs, and what met
        self._branches_left = len(plan.branches)
        self._contributors: dict[int, list[str]] = defaultdict(list)
        self._mixed = False

    @property
    def complete(self) -> bool:
        """Whether every task of the plan is done, down to the last shard."""
        return self._mixed and not any(self._left.values())

    def describe(self) -> str:
        """What is left of what could begin."""
        left = {" ".join(filter(None, key[:2])): number for key, number in self._left.items() if number}
        return ", ".join(f"{number:,} x {name}" for name, number in left.items()) or "the mixture"

    def start(self) -> list[Iterator[Task]]:
        """The first pass over every part, per branch."""
        return [self._passes(branch, 0) for branch in self.plan.branches]

    def _passes(self, branch: BranchPlan, segment: int) -> Iterator[Task]:
        self._left["pass", branch.name, segment] = len(branch.parts)
        named, placement = zip(branch.parts, branch.part_names, strict=True), branch.segments[segment].placement
        return (
            Task(kind="pass", branch=branch.name, segment=segment, part=part, part_name=name, placement=placement)
            for part, name in named
        )

    def done(self, task: Task, facts: dict[str, Any]) -> Iterable[Task]:
        """Note a finished task; returns the tasks that may run now."""
        if task.kind in ("keys", "meet"):
            self._keys[task.branch, task.segment, task.kind] += facts["keys"]
        if task.kind == "mixture":
            self._mixed = True
            self._left["settle", "", 0] = sum(len(branch.parts) for branch in self.plan.branches)
            return self._settles()
        if task.kind == "settle":
            for shard in facts["shards"]:
                self._contributors[shard].append(f"{task.branch}-{task.part_name}")
        key = (task.kind, "" if task.kind == "settle" else task.branch, task.segment)
        self._left[key] -= 1
        if self._left[key] > 0 or task.kind == "shard":
            return ()
        return self._after(task)

    def _after(self, task: Task) -> Iterable[Task]:
        """All tasks like this one are done: what comes next."""
        if task.kind == "settle":
            self._left["shard", "", 0] = len(self._contributors)
            return (
                Task(kind="shard", number=n, parts=tuple(sorted(parts)))
                for n, parts in sorted(self._contributors.items())
            )
        branch = self.plan.branch(task.branch)
        if branch.segments[task.segment].select and task.kind in ("pass", "learn", "keys", "meet", "pairs"):
            tasks = self._selecting(branch, task)
            self._left[tasks[0].kind, branch.name, task.segment] = len(tasks)
            return tasks
        if task.segment + 1 < len(branch.segments) and not branch.segments[task.segment + 1].empty:
            return self._passes(branch, task.segment + 1)
        self._branches_left -= 1
        if self._branches_left:
            return ()
        places = [f"{branch.name}/{name}" for branch in self.plan.branches for name in branch.part_names]
        return [Task(kind="mixture", parts=tuple(places))]

    def _selecting(self, branch: BranchPlan, task: Task) -> list[Task]:
        """What comes next on the way to a Select's decision: at once, or by keys, pairs and the decision."""
        names = branch.part_names
        runs = runs_of(branch.segments[task.segment].select, names, self.plan.select_parts)
        begun = Task(kind="select", branch=branch.name, segment=task.segment, parts=tuple(name for name, _ in runs))
        if not runs:
            return [replace(begun, parts=names)]
        select = branch.segments[task.segment].select
        kinds = ["pass", *(select.TASKS if isinstance(select, TaskedSelect) else ("keys", "pairs")), "select"]
        kind = kinds[kinds.index(task.kind) + 1]
        if kind == "learn":
            return [replace(begun, kind=kind, parts=names)]
        if kind == "keys":
            return [replace(begun, kind=kind, part_name=name, parts=parts) for name, parts in runs]
        if kind in ("meet", "pairs"):
            amount, most = self._keys[branch.name, task.segment, task.kind], self.plan.select_keys
            of = (
                select.num_ranges(kind, amount, most)
                if isinstance(select, TaskedSelect)
                else max(1, -(-amount // most))
            )
            return [replace(begun, kind=kind, number=number, of=of, before=task.of) for number in range(of)]
        return [replace(begun, of=task.of or 1)]

    def _settles(self) -> Iterator[Task]:
        pairs = chain.from_iterable([(branch, name) for name in branch.part_names] for branch in self.plan.branches)
        return (Task(kind="settle", branch=branch.name, part_name=name) for branch, name in pairs)


class Recovery:
    """How a task whose worker died is tried again: the samples it was at one at a time, then without the one that kills its worker.

    A sample is blamed for a crash or a hang that happened while it was alone. A worker that was killed from outside (out of memory, an
    operator's mistake, a chaos test) proves nothing: then the same sample must be there twice. A lost node is nobody's fault.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._deaths: Counter[str] = Counter()
        self._last: dict[str, Place] = {}

    def again(self, outcome: Outcome) -> Task:
        """The task to try next.

        Raises:
            OperatorError: it dies without getting on and there is no sample to blame, or there are too many.
        """
        task = outcome.task
        if outcome.died in NODE_LOST:
            return task
        place, before = self._executor.place(task), self._last.get(task.name)
        if place is not None:
            self._last[task.name] = place
        got_on = place is not None and before is not None and place.row > before.row
        self._deaths[task.name] = 1 if got_on else self._deaths[task.name] + 1
        if place is not None and self._blamed(task, place, before, outcome.died):
            return _without(task, place, outcome.died)
        if self._deaths[task.name] >= MAX_DEATHS + len(task.poison):
            where = f"{place.node}, sample {place.row}" if place else "its start"
            raise OperatorError(
                f"{task}: its worker died {self._deaths[task.name]} times ({outcome.died}), last at {where}"
            )
        return (
            replace(task, suspects=(*task.suspects, (place.row, place.last))) if place and task.kind == "pass" else task
        )

    @staticmethod
    def _blamed(task: Task, place: Place, before: Place | None, died: str) -> bool:
        alone = task.kind == "pass" and bool(task.suspects) and place.rows == 1 and not place.node.startswith(READING)
        again = before is not None and before.rows == 1 and (before.node, before.row) == (place.node, place.row)
        return alone and (place.hung or died in OWN_DOING or again)


def _without(task: Task, place: Place, died: str) -> Task:
    if len(task.poison) >= FREE_FAILURES:
        raise OperatorError(
            f"{task}: {len(task.poison)} samples killed their workers, the last in {place.node}: look at this source first"
        )
    why = "stood still past its deadline" if place.hung else f"killed its worker ({died})"
    return replace(task, poison={**task.poison, place.row: (place.node, f"{place.node}: the sample {why}, twice")})
