"""Metrics: what Prometheus is told of a run, from the outcomes of its tasks. Plain objects stand in for Ray's counters."""

from pathlib import Path

import pytest

from curation.filters import Words
from curation.sources import JsonlSource, ParquetSource
from curation.sources.synthetic import write_synthetic
from pipelines.metrics import Metrics
from pipelines.plan import make_plan
from pipelines.recipe import Recipe, branch
from pipelines.schedule import Outcome
from pipelines.work import Job, Task, Worker

Told = dict[tuple[str, ...], float]


class Recorded:
    """A counter or gauge whose numbers can be read: name and tags -> value."""

    def __init__(self, told: Told, name: str, keys: tuple[str, ...]) -> None:
        self.told, self.name, self.keys = told, name, keys

    def inc(self, value: float, tags: dict[str, str]) -> None:
        at = (self.name, *(tags[key] for key in self.keys))
        self.told[at] = self.told.get(at, 0) + value

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.told[(self.name, *(tags[key] for key in self.keys))] = value


@pytest.fixture
def told() -> Told:
    return {}


@pytest.fixture
def metrics(told: Told) -> Metrics:
    def make(name: str, _: str, keys: tuple[str, ...]) -> Recorded:
        return Recorded(told, name, keys)

    return Metrics(make, make)


def test_a_pass_counts_its_samples_failures_and_bytes_by_branch_and_node(
    metrics: Metrics, told: Told, tmp_path: Path
) -> None:
    write_synthetic(str(tmp_path / "data"), samples=40, seed=0, defects=0.0)
    (tmp_path / "broken.jsonl").write_text('{"text": "three words here"}\n{"text": \n')
    images = branch("images", ParquetSource(f"{tmp_path}/data/image_text-*.parquet"), Words(low=3))
    texts = branch("texts", JsonlSource(f"{tmp_path}/broken.jsonl"), Words(low=4))
    plan = make_plan(Recipe(stage="stage1", branches=(images, texts)), tmp_path / "out")
    worker = Worker(Job.of(plan))
    tasks = [Task(kind="pass", branch=b.name, part=b.parts[0], part_name=b.part_names[0]) for b in plan.branches]
    metrics.take([Outcome(task=task, facts=worker.do(task)) for task in tasks], [])

    read = plan.branches[0].parts[0].rows
    assert told["vl3_samples", "images", "ParquetSource", "kept"] == read
    assert (
        told["vl3_samples", "images", "Words", "kept"] + told.get(("vl3_samples", "images", "Words", "dropped"), 0)
        == read
    )
    assert told["vl3_bytes", "images", "ParquetSource"] > 100 * read
    assert told["vl3_samples", "texts", "JsonlSource", "quarantined"] == 1
    assert told["vl3_samples", "texts", "Words", "dropped"] == 1
    assert told["vl3_tasks", "pass", "images", "done"] == 1

    before = dict(told)
    metrics.take([Outcome(task=task, facts=worker.do(task)) for task in tasks], [])  # committed: no work was done
    assert told["vl3_tasks", "pass", "images", "reused"] == 1
    assert {key: told[key] for key in before if key[0] != "vl3_tasks"} == {
        key: value for key, value in before.items() if key[0] != "vl3_tasks"
    }


def test_what_is_in_flight_is_shown_by_branch_and_goes_back_to_none(metrics: Metrics, told: Told) -> None:
    first, second = Task(kind="pass", branch="images"), Task(kind="pass", branch="texts")
    metrics.take([], [first, first, second])
    assert (told["vl3_in_flight", "pass", "images"], told["vl3_in_flight", "pass", "texts"]) == (2, 1)
    settle = Outcome(task=Task(kind="settle", branch="images"), died="WorkerCrashedError")
    metrics.take([Outcome(task=first, died="WorkerCrashedError"), settle], [second])
    assert (told["vl3_in_flight", "pass", "images"], told["vl3_in_flight", "pass", "texts"]) == (0, 1)
    assert told["vl3_tasks", "pass", "images", "died"] == 1
