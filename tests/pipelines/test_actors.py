"""Actors: a pool hands out tasks, and knows which of them had begun when an actor died. Plain objects stand in for Ray's."""

from itertools import count
from typing import Any

from pipelines.actors import Pool, room_for
from pipelines.recipe import Placement


class Handle:
    """An actor whose tasks are numbers."""

    numbers = count()

    def __init__(self) -> None:
        self.do = self
        self.ended = False

    def remote(self, *_: Any) -> int:
        return next(self.numbers)


def pool_of(size: int) -> tuple[Pool, list[Handle]]:
    made: list[Handle] = []

    def start() -> Handle:
        made.append(Handle())
        return made[-1]

    return Pool(start, lambda handle: setattr(handle, "ended", True), lambda: size), made


def test_there_are_no_more_actors_than_room_and_each_holds_one_task_ahead() -> None:
    pool, made = pool_of(2)
    for _ in range(4):
        assert pool.free
        pool.submit()
    assert len(made) == 2
    assert not pool.free


def test_an_idle_actor_is_taken_before_another_is_made() -> None:
    pool, made = pool_of(2)
    for _ in range(3):
        assert pool.ended(pool.submit(), died=False)
    assert len(made) == 1


def test_only_the_task_that_was_done_had_begun_when_its_actor_died() -> None:
    pool, made = pool_of(1)
    first, second = pool.submit(), pool.submit()
    assert not pool.ended(second, died=True)  # Ray tells of them in any order
    assert pool.ended(first, died=True)
    first, second = pool.submit(), pool.submit()
    assert pool.ended(first, died=True)
    assert not pool.ended(second, died=True)
    assert pool.free
    pool.submit()
    assert len(made) == 3


def test_actors_without_work_give_their_share_back() -> None:
    pool, made = pool_of(2)
    busy, idle = pool.submit(), pool.submit()
    pool.ended(idle, died=False)
    pool.release(idle=0.0)
    assert [handle.ended for handle in made] == [False, True]
    assert pool.ended(busy, died=False)


def test_actors_leave_a_cpu_to_tasks() -> None:
    cluster = {"GPU": 2.0, "CPU": 16.0}
    assert room_for(Placement(gpus=0.25), cluster) == 8
    assert room_for(Placement(gpus=0.25), cluster | {"CPU": 4.0}) == 3
    assert room_for(Placement(gpus=1.0), {"CPU": 8.0}) == 1  # a cluster that may grow: the demand must be seen
