"""Journal: what it may say is done, and when it must not."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from curation.operator import Part, canonical
from pipelines.journal import Journal, commit_of
from pipelines.plan import Plan, _part_json
from pipelines.store import Store
from pipelines.work import Task

PlanOf = Callable[..., Plan]


@pytest.fixture
def plan(plan_of: PlanOf, tmp_path: Path) -> Plan:
    return plan_of(tmp_path)


@pytest.fixture
def task(plan: Plan) -> Task:
    """The first pass, committed and told to the journal."""
    branch = plan.branches[0]
    task = Task(kind="pass", branch=branch.name, part=branch.parts[0], part_name=branch.part_names[0])
    store, place = Store(root=plan.out), commit_of(task, plan, plan.id)
    table = store.table_path(*place)
    table.parent.mkdir(parents=True)
    table.write_bytes(b"rows")
    facts = store.commit(*place, [table], {"nodes": {}})
    journal = Journal(plan, plan.id)
    journal.add(task, facts | {"took": 2.0, "host": "a"}, store.stamps(*place))
    journal.close()
    return task


@pytest.fixture
def known(plan: Plan) -> Iterator[Callable[[Task], object]]:
    """Ask a journal that is opened anew."""
    opened: list[Journal] = []

    def ask(task: Task) -> object:
        opened.append(Journal(plan, plan.id))
        return opened[-1].known(task)

    yield ask
    for journal in opened:
        journal.close()


def test_what_is_as_it_was_is_done(task: Task, known: Callable[[Task], object]) -> None:
    assert known(task) == {"nodes": {}, "reused": True}
    assert known(Task(kind="pass", branch=task.branch, part_name="another")) is None


@pytest.mark.parametrize("spoil", ["touch", "write", "remove", "forget"])
def test_a_file_that_changed_is_for_a_worker_to_look_at(
    plan: Plan, task: Task, known: Callable[[Task], object], spoil: str
) -> None:
    store, place = Store(root=plan.out), commit_of(task, plan, plan.id)
    table = store.table_path(*place)
    if spoil == "touch":
        os.utime(table, ns=(1, 1))
    elif spoil == "write":
        table.write_bytes(b"more rows")
    elif spoil == "remove":
        table.unlink()
    else:
        store.marker(*place).unlink()
    assert known(task) is None


def test_a_torn_line_costs_itself_only(plan: Plan, task: Task, known: Callable[[Task], object]) -> None:
    path = plan.out / "work" / "journal.jsonl"
    line = path.read_text()
    path.write_text(line[: len(line) // 2])
    assert known(task) is None
    journal = Journal(plan, plan.id)
    journal.add(task, {"nodes": {}}, Store(root=plan.out).stamps(*commit_of(task, plan, plan.id)))
    journal.close()
    assert known(task) is not None


def test_parts_are_named_by_their_canonical_form() -> None:
    for part in (Part(uri='a "b" \\ é', begin=3, end=9, rows=2, bytes=7), Part(uri="s3://x")):
        assert _part_json(part) == canonical(part)
        assert json.loads(canonical(part))["uri"] == part.uri
