"""Work: the tasks a run is made of. Each is a function of committed inputs and commits its output; doing one twice does no harm.

pass      branch, segment, part   read or take up samples, run the segment's steps
select    branch, segment         decide over all samples of a branch
keys      branch, segment, run    where that is too much for one worker: some parts' samples by key (see pipelines.select)
learn     branch, segment         what its runs must know beforehand (see curation.select.tasks)
meet      branch, segment, range  which samples meet
pairs     branch, segment, range  the samples that met under a range of keys
mixture   once                    choose, and lay into shards
settle    branch, part            the ledger's rows of a part, its quarantine, and what its chosen samples bring to their shards
shard     number                  one tar and its index
"""

import ctypes
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import polars as pl

from curation.operator import Part
from curation.select.partitioned import PartitionedSelect
from curation.select.tasks import TaskedSelect
from pipelines import select_tasks
from pipelines.guard import Guard
from pipelines.kept import kept_before
from pipelines.mixture import choose, lay_into_shards, realised
from pipelines.passes import Pass
from pipelines.plan import BranchPlan, Plan
from pipelines.recipe import ONE_CPU, Placement, load_module
from pipelines.select import (
    NOBODY,
    commit_dropped,
    decide_at_once,
    decide_by_pairs,
    gather_keys,
    learn,
    pair_range,
    pairs_name,
)
from pipelines.select_tasks import Committed, node_of, range_name
from pipelines.settle import settle
from pipelines.shard import write_shard
from pipelines.store import Store

TaskKind = Literal["pass", "learn", "keys", "meet", "pairs", "select", "mixture", "settle", "shard"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One piece of work.

    of: how many tasks share it, where `number` tells them apart; before: how many tasks of the kind before did. poison: rows that are
    quarantined unseen because they killed a worker, with node and message. suspects: (first, last) rows among which a worker died: they
    are taken one at a time.
    """

    kind: TaskKind
    branch: str = ""
    segment: int = 0
    part: Part | None = None
    part_name: str = ""
    parts: tuple[str, ...] = ()
    number: int = 0
    of: int = 0
    before: int = 0
    poison: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    suspects: tuple[tuple[int, int], ...] = ()
    placement: Placement = ONE_CPU

    @property
    def name(self) -> str:
        """Short name for cursors and messages."""
        return "-".join(
            str(x) for x in (self.kind, self.branch, self.segment, self.part_name or self.number) if x != ""
        )

    def __str__(self) -> str:
        place = f" part {self.part.uri}" if self.part else ""
        return f"{self.kind} {self.branch or self.number}{place}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every worker needs, shipped once: the plan without parts (they travel with their tasks)."""

    payload: bytes
    recipe_file: str = ""

    @staticmethod
    def of(plan: Plan, recipe_file: str = "") -> "Job":
        """Pack a plan."""
        light = replace(plan, branches=tuple(replace(branch, parts=()) for branch in plan.branches))
        return Job(payload=pickle.dumps((light, plan.id)), recipe_file=recipe_file)

    def open(self) -> tuple[Plan, str]:
        """The plan and its id; a recipe file is imported first, so that its own operators unpickle."""
        if self.recipe_file:
            load_module(self.recipe_file)
        return pickle.loads(self.payload)  # our own driver made it, in this run


# Rows of the choice over all samples that are read together: each part reads its own, not all.
CHOSEN_ROWS = 1 << 14


def keep_memory() -> None:
    """Have glibc keep freed memory for the next picture.

    Otherwise every batch gives tens of megabytes of pixels back to the kernel and takes them again page by page, a tenth of a pass.
    """
    if set_option := getattr(ctypes.CDLL(None), "mallopt", None):
        set_option(-3, 32 << 20)  # M_MMAP_THRESHOLD, at its greatest
        set_option(-1, 512 << 20)  # M_TRIM_THRESHOLD


class Worker:
    """Does tasks of one job in this process."""

    def __init__(self, job: Job) -> None:
        keep_memory()
        self.plan, self.plan_id = job.open()
        self.store = Store(root=self.plan.out, shared=self.plan.measures)

    def do(self, task: Task, cursor: Path | None = None) -> dict[str, Any]:
        """Do one task unless it is committed; returns its facts."""
        guard = Guard(cursor, sample_seconds=self.plan.sample_seconds, paced=task.kind == "pass")
        try:
            return getattr(self, f"_{task.kind}")(task, guard)
        finally:
            guard.close()

    def _pass(self, task: Task, guard: Guard) -> dict[str, Any]:
        branch = self.plan.branch(task.branch)
        segment = branch.segments[task.segment]
        if facts := self.store.done(segment.id, task.part_name):
            return facts | {"reused": True}
        assert task.part is not None
        return Pass(
            plan=self.plan, store=self.store, branch=branch, segment=segment, part=task.part, part_name=task.part_name, guard=guard,
            poison=task.poison, suspects=task.suspects,
        ).run()  # fmt: skip

    def _learn(self, task: Task, guard: Guard) -> dict[str, Any]:
        branch = self.plan.branch(task.branch)
        segment = branch.segments[task.segment]
        if facts := self.store.done(node_of(segment), "learned"):
            return facts | {"reused": True}
        guard.at(segment.select.name if segment.select else "", 0, 0)
        return learn(self.store, branch, task.segment, task.parts)

    def _keys(self, task: Task, guard: Guard) -> dict[str, Any]:
        branch = self.plan.branch(task.branch)
        segment = branch.segments[task.segment]
        if facts := self.store.done(node_of(segment), f"keys-{task.part_name}"):
            return facts | {"reused": True}
        guard.at(segment.select.name if segment.select else "", 0, 0)
        return gather_keys(self.store, branch, task.segment, task.part_name, task.parts)

    def _meet(self, task: Task, guard: Guard) -> dict[str, Any]:
        segment = self.plan.branch(task.branch).segments[task.segment]
        assert isinstance(segment.select, TaskedSelect)
        tables = Committed(store=self.store, node=node_of(segment), names=task.parts)
        if facts := self.store.done(tables.node, range_name("meet", task.parts, task.number, task.of)):
            return facts | {"reused": True}
        guard.at(segment.select.name, task.number, 0)
        return select_tasks.meet(self.store, segment.select, tables, task.number, task.of)

    def _pairs(self, task: Task, guard: Guard) -> dict[str, Any]:
        segment = self.plan.branch(task.branch).segments[task.segment]
        if isinstance(segment.select, TaskedSelect):
            tables = Committed(store=self.store, node=node_of(segment), names=task.parts, before="meet", of=task.before)
            if facts := self.store.done(tables.node, range_name("pairs", task.parts, task.number, task.of)):
                return facts | {"reused": True}
            guard.at(segment.select.name, task.number, 0)
            return select_tasks.pairs(self.store, segment.select, tables, task.number, task.of)
        assert isinstance(segment.select, PartitionedSelect)
        if facts := self.store.done(segment.select_id, pairs_name(task.parts, task.number, task.of)):
            return facts | {"reused": True}
        guard.at(segment.select.name, task.number, 0)
        return pair_range(self.store, segment.select_id, segment.select, task.parts, task.number, task.of)

    def _select(self, task: Task, guard: Guard) -> dict[str, Any]:
        branch = self.plan.branch(task.branch)
        segment = branch.segments[task.segment]
        if facts := self.store.done(segment.select_id, "dropped"):
            return facts | {"reused": True}
        assert segment.select is not None
        guard.at(segment.select.name, 0, 0)
        crowds = NOBODY
        if task.of and isinstance(segment.select, TaskedSelect):
            last = segment.select.TASKS[-1]
            tables = Committed(store=self.store, node=node_of(segment), names=task.parts, before=last, of=task.of)
            seen, dropped = select_tasks.decide(self.store, segment, segment.select, tables)
        elif task.of and isinstance(segment.select, PartitionedSelect):
            seen, dropped = decide_by_pairs(self.store, segment.select_id, segment.select, task.parts, task.of)
        else:
            seen, dropped, crowds = decide_at_once(self.store, branch, task.segment, task.parts)
        return commit_dropped(self.store, branch, task.segment, seen, dropped, crowds)

    def _mixture(self, task: Task, guard: Guard) -> dict[str, Any]:  # noqa: ARG002  nothing here can hang on a sample
        if facts := self.store.done(self.plan_id, "chosen"):
            return facts | {"reused": True}
        tables = []
        for place in task.parts:
            branch_name, _, part_name = place.partition("/")
            tables.append(mixture_input(self.store, self.plan.branch(branch_name), part_name))
        samples = choose(pl.concat(tables), self.plan.recipe.mixture, seed=self.plan.recipe.seed)
        laid = lay_into_shards(samples, self.plan.recipe.shards, seed=self.plan.recipe.seed)
        path = self.store.write_table(
            self.plan_id, "chosen", laid.sort("branch", "part", "row"), row_group_size=CHOSEN_ROWS
        )
        num_shards = 0 if laid["shard"].is_null().all() else int(laid["shard"].max()) + 1  # pyright: ignore[reportArgumentType]
        facts = {"shards": num_shards, "mixture": realised(samples, self.plan.recipe.mixture), "kept": samples.height}
        facts["chosen"] = int(samples["chosen"].sum())
        return self.store.commit(self.plan_id, "chosen", [path], facts)

    def _settle(self, task: Task, guard: Guard) -> dict[str, Any]:
        if facts := self.store.done(self.plan_id, f"settle-{task.branch}-{task.part_name}"):
            return facts | {"reused": True}
        return settle(self.plan, self.plan_id, self.store, self.plan.branch(task.branch), task.part_name, guard)

    def _shard(self, task: Task, guard: Guard) -> dict[str, Any]:
        if facts := self.store.done(self.plan_id, f"shard-{task.number:06d}"):
            return facts | {"reused": True}
        return write_shard(self.plan, self.plan_id, self.store, task.number, task.parts, guard)


def mixture_input(store: Store, branch: BranchPlan, part_name: str) -> pl.DataFrame:
    """What the mixture sees of one part: kept samples with their sizes."""
    kept = kept_before(store, branch, len(branch.segments), part_name)
    media_bytes = pl.col("media").list.eval(pl.element().struct.field("size")).list.sum()
    return kept.select(
        pl.lit(branch.name).alias("branch"), pl.lit(part_name).alias("part"), "row", "id",
        (pl.col("text_tokens").cast(pl.Int64) + pl.col("visual_tokens_kept").cast(pl.Int64)).alias("tokens"),
        (media_bytes.fill_null(0) + pl.col("turns").str.len_bytes().cast(pl.Int64)).alias("bytes"),
    )  # fmt: skip
