"""Overlap: what only one filter drops. A sample leaves at the first filter that drops it, so the later ones are asked here, for a few."""

import time
from collections.abc import Mapping, Sequence

import polars as pl

from charts import Block, Bounds, Section, Share, Table
from curation.operator import Filter
from pipelines.apart import Apart, LostError
from pipelines.remeasure import cheap_filter, remeasure
from pipelines.report.gallery import Gallery
from pipelines.report.material import Material
from pipelines.report.survey import Survey
from pipelines.samples import FoundSample

SECONDS = 30.0  # for all of it: filters that are not reached are left out


def overlap(material: Material, survey: Survey, gallery: Gallery, apart: Apart) -> Section | None:
    """Per branch and filter: of a random few of the samples it dropped, how many no other filter would have dropped."""
    blocks: list[Block] = []
    deadline = time.monotonic() + SECONDS
    for branch in material.branches:
        filters = {f.name: f for o in material.operators(branch) if (f := cheap_filter(o)) is not None}
        rows = []
        for name in filters:
            if (row := _row(survey, gallery, apart, branch, name, filters, deadline)) is not None:
                rows.append(row)
        if rows:
            columns = ("filter", "dropped", "looked at", "only this one drops", *(f"also {name}" for name in filters))
            blocks.append(Table(title=branch, columns=columns, rows=rows))
    lead = (
        "Of the samples that a filter dropped, a random few are measured by the later filters too (those that load no model). Look for a "
        "filter whose samples others drop anyway: it decides nothing, or could stand later."
    )
    return Section(title="Overlap of filters", lead=lead, blocks=blocks) if blocks else None


def _row(
    survey: Survey,
    gallery: Gallery,
    apart: Apart,
    branch: str,
    name: str,
    filters: Mapping[str, Filter],
    deadline: float,
) -> tuple[object, ...] | None:
    mine = survey.examples.filter((pl.col("branch") == branch) & pl.col("reason").str.starts_with(f"{name}."))
    found = [gallery.found[i] for i in mine.filter(pl.col("decision") == "dropped")["id"] if i in gallery.found]
    if not found:
        return None
    places = list(filters)
    also: dict[str, list[bool]] = {}
    for other in places:
        if other == name or time.monotonic() > deadline:
            continue
        # What comes before let them pass; what comes after never saw them.
        before = places.index(other) < places.index(name)
        out = [False] * len(found) if before else _outside(apart, filters[other], found)
        if out is not None:
            also[other] = out
    alone = sum(not any(out[i] for out in also.values()) for i in range(len(found)))
    cells = [Share(sum(also[other]) / len(found)) if other in also else None for other in places]
    dropped = survey.reasons.filter(
        (pl.col("branch") == branch) & (pl.col("node") == name) & (pl.col("decision") == "dropped")
    )
    return (name, int(dropped["samples"].sum()), len(found), Share(alone / len(found)), *cells)


def _outside(apart: Apart, asked: Filter, found: Sequence[FoundSample]) -> list[bool] | None:
    try:
        values = apart.call(remeasure, [asked], found)[asked.name]
    except LostError:
        return None
    bounds = Bounds(low=asked.low, high=asked.high)
    return [
        v is not None and ((bounds.low is not None and v < bounds.low) or (bounds.high is not None and v > bounds.high))
        for v in values
    ]
