"""Copies of cells: made by the pass or when a part is settled, the same shards; a damaged one costs a restart and nothing else."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from run_checks import build, digests

from curation.filters import Decodable, Words
from curation.operator import ContractError, Part, PartLimits
from curation.sample import BadSample, Sample
from curation.sources import ParquetSource
from pipelines.journal import Journal
from pipelines.local import InProcess
from pipelines.plan import Plan, make_plan
from pipelines.progress import Progress
from pipelines.recipe import Recipe, branch
from pipelines.schedule import execute
from pipelines.work import Job, Task


class StopsAt(InProcess):
    """Ends the run before a kind of task."""

    def __init__(self, job: Job, kind: str) -> None:
        super().__init__(job, Path())
        self._kind = kind

    def submit(self, task: Task) -> None:
        if task.kind == self._kind:
            raise KeyboardInterrupt
        super().submit(task)


class NoBytes(ParquetSource):
    """Refers to its media without the bytes that passed by."""

    def read(self, part: Part) -> Iterator[Sample | BadSample]:
        for item in super().read(part):
            media = () if isinstance(item, BadSample) else tuple(replace(m, data=None) for m in item.media)
            yield item if isinstance(item, BadSample) else replace(item, media=media)


def plan_of(source: ParquetSource, out: Path) -> Plan:
    out.mkdir()
    recipe = Recipe(stage="stage1", branches=(branch("images", source, Decodable(), Words(low=0)),))
    return make_plan(recipe, out, limits=PartLimits(rows=25))


def stop_before(kind: str, plan: Plan) -> list[Path]:
    """Run up to a kind of task; returns the copies that are there then."""
    progress, journal = Progress(plan, quiet=True), Journal(plan, plan.id)
    with pytest.raises(KeyboardInterrupt):
        execute(plan, StopsAt(Job.of(plan), kind), progress, journal)
    journal.close()
    progress.close("stopped")
    return sorted(plan.out.glob("work/*/*.copy"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, corpora: Path) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for file in corpora.glob("image_text-*.parquet"):
        pq.write_table(pq.read_table(file).slice(0, 60), folder / file.name)
    return folder


def shards_of(out: Path) -> Any:
    return {name: digest for name, digest in digests(out).items() if name.startswith("shards/")}


@pytest.mark.slow
def test_bytes_copied_by_the_pass_or_later_give_the_same_shards(images: Path, tmp_path: Path) -> None:
    ahead = plan_of(ParquetSource(str(images), id="id"), tmp_path / "ahead")
    assert len(stop_before("settle", ahead)) == len(ahead.branches[0].parts)
    later = plan_of(NoBytes(str(images), id="id"), tmp_path / "later")
    assert stop_before("settle", later) == []
    for plan in (ahead, later):
        build(plan)
        assert not list(plan.out.glob("work/*/*.copy*"))
    assert shards_of(ahead.out) == shards_of(later.out)


@pytest.mark.slow
def test_a_damaged_copy_is_made_again_by_the_next_run(images: Path, tmp_path: Path) -> None:
    whole = plan_of(ParquetSource(str(images), id="id"), tmp_path / "whole")
    build(whole)
    plan = plan_of(ParquetSource(str(images), id="id"), tmp_path / "damaged")
    copy = stop_before("shard", plan)[0]
    copy.write_bytes(bytes(copy.stat().st_size))
    with pytest.raises(ContractError, match="changed since they were measured"):
        build(plan)
    build(plan)
    assert shards_of(plan.out) == shards_of(whole.out)
