"""Scores: for each filter how its numbers lie, what other bounds would have done, and samples on both sides; how scores relate."""

import numpy as np
import polars as pl

from charts import Block, Bounds, Chart, Section, Table, heatmap, histogram
from pipelines.report.blocks import Cards, WhatIf
from pipelines.report.gallery import Gallery
from pipelines.report.material import Material
from pipelines.report.survey import LENGTH, NEAR, Survey

COLOURS = {"in the shards": "var(--kept)", "dropped here": "var(--lost)", "lost elsewhere": "var(--other)"}
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_SIDES = (
    ("{side} kept", "just inside the {side} bound", 5),
    ("{side} dropped", "just outside the {side} bound", NEAR),
    ("{side} far", "furthest outside the {side} bound", NEAR),
)


def wanted(survey: Survey) -> list[str]:
    """Ids of the samples this section shows."""
    return [sample for ids in survey.near.values() for sample in ids]


def scores(material: Material, survey: Survey, gallery: Gallery) -> Section:
    """One block per branch and score, if it has more than one value."""
    varied = [key for key in _keys(material, survey) if _varies(survey, key)]
    blocks = [_score(material, survey, gallery, *key) for key in varied]
    lead = (
        "Move a bound and read what it would keep: every number is a count over all samples of the branch that reached the filter, not an "
        "estimate. Samples that a looser bound lets through have not been seen by the nodes after it."
    )
    return Section(title="Scores", lead=lead, blocks=blocks)


def constant(material: Material, survey: Survey) -> Section | None:
    """Scores of one value only, which share a table: there is nothing to choose a bound by."""
    rows = []
    for branch, score in (key for key in _keys(material, survey) if not _varies(survey, key)):
        sketch, bounds = survey.sketches[branch, score], material.bounds(branch, score) or Bounds()
        rows.append((branch, score, sketch.lowest, sketch.measured, sketch.nan, bounds.low, bounds.high))
    if not rows:
        return None
    columns = ("branch", "score", "value", "samples measured", "without a number", "low", "high")
    lead = (
        "Scores with the same value for every sample. A filter that stays so over all of a corpus can go, unless it is there for what "
        "fails in it (Decodable)."
    )
    return Section(title="One value", lead=lead, blocks=[Table(columns=columns, rows=rows)])


def _keys(material: Material, survey: Survey) -> list[tuple[str, str]]:
    return [(b, s) for b in material.branches for s in material.scores if (b, s) in survey.sketches]


def _varies(survey: Survey, key: tuple[str, str]) -> bool:
    return survey.sketches[key].lowest < survey.sketches[key].highest


def _score(material: Material, survey: Survey, gallery: Gallery, branch: str, score: str) -> WhatIf:
    sketch = survey.sketches[branch, score]
    bounds = material.bounds(branch, score) or Bounds()
    settings = next((o for o in material.operators(branch) if o["name"] == score), {})
    counts = sketch.histogram()
    svg = histogram(sketch.bars.tolist(), counts, x=score, y="samples", colours=COLOURS, bounds=bounds, log=sketch.log)
    about = material.describe(str(settings.get("operator", "")))
    nan = f" {sketch.nan:,} samples gave no number (NaN) and are dropped." if sketch.nan else ""
    look = f"{about} Look for a bound that cuts through a hill instead of a valley; the end bars hold everything beyond them.{nan}"
    return WhatIf(
        title=f"{branch} / {score}",
        look=look.strip(),
        branch=branch,
        score=score,
        svg=svg,
        sketch=sketch.what_if(),
        low=bounds.low,
        high=bounds.high,
        quantiles={f"{100 * q:g} %": sketch.quantile(q) for q in QUANTILES} if sketch.measured else {},
        rows=_rows(survey, gallery, branch, score),
    )


def _rows(survey: Survey, gallery: Gallery, branch: str, score: str) -> list[Cards]:
    """Samples near the bounds; where a filter dropped nothing, two of the nearest show how far it is from doing so."""
    rows = []
    for side in ("low", "high"):
        dropped = (branch, score, f"{side} dropped") in survey.near
        for key, title, limit in _SIDES:
            ids = survey.near.get((branch, score, key.format(side=side)), [])
            cards = gallery.cards(ids, score=score, limit=limit if dropped else 2)
            if cards and not (key.endswith("far") and len(ids) < NEAR):
                rows.append(Cards(title=title.format(side=side), cards=cards, folded=not dropped))
    return rows


def relations(material: Material, survey: Survey) -> Section | None:
    """Rank correlations of scores per branch."""
    blocks: list[Block] = []
    for branch in material.branches:
        mine = survey.sample.filter(pl.col("branch") == branch)
        names = [s for s in material.scores if (branch, s) in survey.sketches and mine[s].drop_nulls().n_unique() > 1]
        if len(names) < 2:
            continue
        values = [[None if a == b else _spearman(mine, a, b) for b in names] for a in names]
        if any(v is not None for line in values for v in line):
            svg = heatmap(names, names, values, title="rank correlation, -1 to 1 (Spearman)")
            look = "Two filters that agree closely (above 0.8) pay twice for one decision."
            blocks.append(Chart(title=branch, look=look, svg=svg))
    lead = f"How scores move together, over up to {survey.sample.height:,} samples (those with the smallest ids, a random choice)."
    return Section(title="Correlations", lead=lead, blocks=blocks) if blocks else None


def _spearman(table: pl.DataFrame, first: str, second: str) -> float | None:
    """Rank correlation over samples that have both; None when one of them does not vary there."""
    both = table.select(first, second).drop_nulls().drop_nans()
    if both.height < 8:
        return None
    ranks = both.select(pl.all().rank("average")).to_numpy()
    if (ranks.std(axis=0) == 0).any():
        return None
    return float(np.corrcoef(ranks.T)[0, 1])


def lengths(material: Material, survey: Survey) -> list[Block]:
    """Histograms of sequence lengths of the samples in the shards, one per branch."""
    blocks: list[Block] = []
    for branch in material.branches:
        if (branch, LENGTH) in survey.sketches:
            sketch = survey.sketches[branch, LENGTH]
            counts = {"in the shards": sketch.histogram()["in the shards"]}
            svg = histogram(
                sketch.bars.tolist(),
                counts,
                x="language tokens per sample, text and visual",
                colours=COLOURS,
                log=sketch.log,
            )
            look = "Samples longer than a pack are left out by the trainer or shortened; very many short ones make packs of many pieces."
            blocks.append(Chart(title=f"Length in {branch}", look=look, svg=svg))
    return blocks
