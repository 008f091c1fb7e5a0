"""Signatures: what a finished run's samples were compared by, kept as a base against which later runs find their duplicates."""

from collections.abc import Collection, Iterator
from pathlib import Path

import polars as pl

from curation.operator import RecipeError
from curation.select.base import BasedSelect
from pipelines.plan import BranchPlan, Plan
from pipelines.select import select_input
from pipelines.store import Store, read_frame


def write_signatures(plan: Plan, branch_name: str, select_name: str, directory: Path) -> int:
    """Write the signatures of a branch's samples that are in the dataset; returns how many.

    Raises:
        RecipeError: no such branch or Select, or the dataset is not there.
    """
    branches = {branch.name: branch for branch in plan.branches}
    if branch_name not in branches:
        raise RecipeError(f"branch {branch_name!r}: the recipe has {', '.join(branches)}")
    branch = branches[branch_name]
    selects = {s.select.name: n for n, s in enumerate(branch.segments) if isinstance(s.select, BasedSelect)}
    if select_name not in selects:
        raise RecipeError(
            f"{branch_name}: no Select {select_name!r} with signatures, only {', '.join(selects) or 'none'}"
        )
    index = selects[select_name]
    select = branch.segments[index].select
    assert isinstance(select, BasedSelect)
    if not (plan.out / "manifest.json").exists():
        raise RecipeError(f"{plan.out}: no finished dataset of this recipe: run it first")
    return select.write_base(_kept(plan, branch, index, select.COLUMNS), directory)


def _kept(plan: Plan, branch: BranchPlan, index: int, columns: Collection[str]) -> Iterator[pl.DataFrame]:
    store = Store(root=plan.out)
    for name in branch.part_names:
        table = select_input(store, branch, index, name)
        if not table.height:
            continue
        fates = read_frame(plan.out / "ledger" / f"{branch.name}-{name}.parquet", ["id", "decision"])
        kept = fates.filter(pl.col("decision") == "kept").select("id")
        yield table.select("id", *columns).join(kept, on="id", how="semi", maintain_order="left")
