"""Recovery: who is blamed for a dead worker, and who is not."""

import pytest

from curation.operator import OperatorError
from pipelines.guard import Place
from pipelines.recipe import Placement
from pipelines.schedule import Outcome, Recovery
from pipelines.work import Task


class Deaths:
    """An executor whose workers die where the test says."""

    slots = 1

    def __init__(self) -> None:
        self.at: Place | None = None

    def free(self, placement: Placement) -> bool:
        return True

    def submit(self, task: Task) -> None: ...

    def wait(self, seconds: float) -> list[Outcome]:
        return []

    def place(self, task: Task) -> Place | None:
        return self.at

    def close(self) -> None: ...


TASK = Task(kind="pass", branch="b", part_name="000000")


def die(recovery: Recovery, executor: Deaths, task: Task, row: int, rows: int, how: str, *, hung: bool = False) -> Task:
    executor.at = Place(node="Decodable", row=row, last=row + rows - 1, rows=rows, hung=hung)
    return recovery.again(Outcome(task=task, died=how))


@pytest.fixture
def executor() -> Deaths:
    return Deaths()


@pytest.fixture
def recovery(executor: Deaths) -> Recovery:
    return Recovery(executor)


def test_a_crash_alone_blames_the_sample_at_once(executor: Deaths, recovery: Recovery) -> None:
    task = die(recovery, executor, TASK, 0, 64, "signal SIGSEGV")
    assert (task.suspects, task.poison) == (((0, 63),), {})
    task = die(recovery, executor, task, 17, 1, "signal SIGSEGV")
    assert list(task.poison) == [17]


def test_a_hang_alone_blames_the_sample_at_once(executor: Deaths, recovery: Recovery) -> None:
    task = die(recovery, executor, TASK, 0, 64, "exit code 1", hung=True)
    assert list(die(recovery, executor, task, 3, 1, "exit code 1", hung=True).poison) == [3]


def test_kills_from_outside_at_different_samples_blame_nobody(executor: Deaths, recovery: Recovery) -> None:
    task = die(recovery, executor, TASK, 0, 64, "signal SIGKILL")
    for row in range(1, 40):
        task = die(recovery, executor, task, row, 1, "signal SIGKILL")
    assert task.poison == {}


def test_a_kill_at_the_same_sample_again_blames_it(executor: Deaths, recovery: Recovery) -> None:
    task = die(recovery, executor, TASK, 0, 64, "OutOfMemoryError")
    task = die(recovery, executor, task, 5, 1, "OutOfMemoryError")
    assert task.poison == {}
    assert list(die(recovery, executor, task, 5, 1, "OutOfMemoryError").poison) == [5]


def test_a_lost_node_costs_nothing_but_time(executor: Deaths, recovery: Recovery) -> None:
    for _ in range(50):
        assert die(recovery, executor, TASK, 9, 1, "NodeDiedError") == TASK


def test_a_worker_that_never_gets_on_stops_the_run(executor: Deaths, recovery: Recovery) -> None:
    task = TASK
    for _ in range(3):
        task = die(recovery, executor, task, 0, 64, "signal SIGKILL")
    with pytest.raises(OperatorError, match="died 4 times"):
        die(recovery, executor, task, 0, 64, "signal SIGKILL")
