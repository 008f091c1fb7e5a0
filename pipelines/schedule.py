"""Schedule: which task comes next, and what to do when a worker dies. The same for every executor.

All parts of all branches are in flight together, bounded by the executor's slots; the only barriers are Selects and the mixture.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from typing import Any, Protocol

from curation.operator import OperatorError
from pipelines.guard import Place
from pipelines.passes import FREE_FAILURES
from pipelines.plan import BranchPlan, Plan
from pipelines.progress import Progress
from pipelines.select import runs_of
from pipelines.stop import Stop
from pipelines.work import Task

# A task that kills its worker this often without a sample to blame stops the run.
MAX_DEATHS = 4
# Ends that a process brings on itself, and ends of the node below it, as executors name them.
OWN_DOING = {f"signal {name}" for name in ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE")}
NODE_LOST = {"NodeDiedError", "ObjectLostError", "OwnerDiedError", "NodePreemptedError"}


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


def execute(plan: Plan, executor: Executor, progress: Progress) -> "Graph":
    """Run all tasks of a plan.

    Raises:
        OperatorError: a task failed for good; what is committed stays, so that the run can be resumed.
    """
    graph = Graph(plan)
    recovery = Recovery(executor)
    ready: deque[Iterator[Task]] = deque([graph.start()])
    flying = 0
    with Stop() as stop:
        while True:
            while not stop.asked and flying < executor.slots and (task := _next(ready)) is not None:
                executor.submit(task)
                progress.started(task)
                flying += 1
            if stop.asked and (not flying or stop.overdue):
                raise OperatorError(f"ended by {stop.signal}, {flying} tasks in flight given up")
            if not flying:
                return graph
            for outcome in executor.wait(1.0):
                flying -= 1
                tasks = iter(_taken(outcome, graph, recovery, progress))
                ready.appendleft(tasks) if outcome.died else ready.append(tasks)
            progress.show()


def _taken(outcome: Outcome, graph: "Graph", recovery: "Recovery", progress: Progress) -> Iterable[Task]:
    """The tasks that may run now that one ended."""
    if outcome.error:
        raise OperatorError(outcome.error)
    if outcome.died:
        progress.died(outcome.task, outcome.died)
        return [recovery.again(outcome)]
    assert outcome.facts is not None
    progress.finished(outcome.task, outcome.facts)
    return graph.done(outcome.task, outcome.facts)


def _next(ready: deque[Iterator[Task]]) -> Task | None:
    while ready:
        if (task := next(ready[0], None)) is not None:
            return task
        ready.popleft()
    return None


class Graph:
    """Which tasks a finished task makes possible; and the facts of all finished tasks."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.facts: dict[str, list[dict[str, Any]]] = defaultdict(list)  # task kind -> facts
        self.nodes: dict[str, dict[str, Counter[str]]] = {branch.name: defaultdict(Counter) for branch in plan.branches}
        self._left: Counter[tuple[str, str, int]] = Counter()
        self._keys: Counter[tuple[str, int]] = Counter()  # of a Select's runs
        self._branches_left = len(plan.branches)
        self._contributors: dict[int, list[str]] = defaultdict(list)

    def start(self) -> Iterator[Task]:
        """The first pass over every part, branches taking turns."""
        queues = [self._passes(branch, 0) for branch in self.plan.branches]
        return (task for group in zip_longest(*queues) for task in group if task is not None)

    def _passes(self, branch: BranchPlan, segment: int) -> Iterator[Task]:
        self._left["pass", branch.name, segment] = len(branch.parts)
        begun = Task(kind="pass", branch=branch.name, segment=segment, placement=branch.segments[segment].placement)
        return (replace(begun, part=part, part_name=branch.part_name(index)) for index, part in enumerate(branch.parts))

    def done(self, task: Task, facts: dict[str, Any]) -> Iterable[Task]:
        """Note a finished task; returns the tasks that may run now."""
        self.facts[task.kind].append(facts)
        for node, counts in facts.get("nodes", {}).items():
            self._add(self.nodes[task.branch][node], counts)
        if task.kind == "keys":
            self._keys[task.branch, task.segment] += facts["keys"]
        if task.kind == "mixture":
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
            return (
                Task(kind="shard", number=n, parts=tuple(sorted(parts)))
                for n, parts in sorted(self._contributors.items())
            )
        branch = self.plan.branch(task.branch)
        if branch.segments[task.segment].select and task.kind in ("pass", "keys", "pairs"):
            tasks = self._selecting(branch, task)
            self._left[tasks[0].kind, branch.name, task.segment] = len(tasks)
            return tasks
        if task.segment + 1 < len(branch.segments) and not branch.segments[task.segment + 1].empty:
            return self._passes(branch, task.segment + 1)
        self._branches_left -= 1
        if self._branches_left:
            return ()
        places = [f"{branch.name}/{name}" for branch in self.plan.branches for name in self._part_names(branch)]
        return [Task(kind="mixture", parts=tuple(places))]

    def _selecting(self, branch: BranchPlan, task: Task) -> list[Task]:
        """What comes next on the way to a Select's decision: at once, or by keys, pairs and the decision."""
        names = self._part_names(branch)
        runs = runs_of(branch.segments[task.segment].select, names, self.plan.select_parts)
        begun = Task(kind="select", branch=branch.name, segment=task.segment, parts=tuple(name for name, _ in runs))
        if not runs:
            return [replace(begun, parts=names)]
        if task.kind == "pass":
            return [replace(begun, kind="keys", part_name=name, parts=parts) for name, parts in runs]
        if task.kind == "keys":
            of = max(1, -(-self._keys[branch.name, task.segment] // self.plan.select_keys))
            return [replace(begun, kind="pairs", number=number, of=of) for number in range(of)]
        return [replace(begun, of=task.of)]

    def _settles(self) -> Iterator[Task]:
        pairs = chain.from_iterable(
            [(branch, name) for name in self._part_names(branch)] for branch in self.plan.branches
        )
        return (Task(kind="settle", branch=branch.name, part_name=name) for branch, name in pairs)

    def _part_names(self, branch: BranchPlan) -> tuple[str, ...]:
        return tuple(branch.part_name(index) for index in range(len(branch.parts)))

    @staticmethod
    def _add(total: Counter[str], counts: dict[str, Any]) -> None:
        for key in ("seen", "kept", "quarantined", "measured", "reused"):
            total[key] += counts.get(key, 0)
        total["milliseconds"] += round(1000 * counts.get("seconds", 0.0))
        for verdict, number in counts["dropped"].items():
            total[f"dropped.{verdict}"] += number


class Recovery:
    """How a task whose worker died is tried again: one sample at a time, then without the sample that kills its worker.

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
        return replace(task, careful=task.kind == "pass")

    @staticmethod
    def _blamed(task: Task, place: Place, before: Place | None, died: str) -> bool:
        alone = task.kind == "pass" and task.careful and place.rows == 1 and not place.node.startswith("reading")
        again = before is not None and before.rows == 1 and (before.node, before.row) == (place.node, place.row)
        return alone and (place.hung or died in OWN_DOING or again)


def _without(task: Task, place: Place, died: str) -> Task:
    if len(task.poison) >= FREE_FAILURES:
        raise OperatorError(
            f"{task}: {len(task.poison)} samples killed their workers, the last in {place.node}: look at this source first"
        )
    why = "stood still past its deadline" if place.hung else f"killed its worker ({died})"
    return replace(task, poison={**task.poison, place.row: (place.node, f"{place.node}: the sample {why}, twice")})
