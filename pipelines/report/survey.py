"""Survey: everything a report counts, in one pass over the ledger with bounded memory.

Counts are exact for any number of rows. Pictures, correlations and lengths rest on samples: ids are digests of content, so the rows
with the smallest ids of a branch are a random sample of it, the same one every time.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from charts import Bounds
from pipelines.report.material import Material
from pipelines.report.sketch import Sketch
from pipelines.store import scan_frames

BATCH_ROWS = 200_000
SAMPLE = 4_000  # rows per branch
NEAR = 8  # samples on each side of a bound, and at its far end
EXAMPLES = 24  # samples per reason
LENGTH = "length"  # pseudo-score: language tokens of a sample in the shards, visual ones after pruning included
_NEEDED = [
    "id", "branch", "part", "shard", "decision", "node", "reason", "duplicate_of", "text_tokens", "patches",
    "visual_tokens", "visual_tokens_kept",
]  # fmt: skip

Key = tuple[str, str]  # branch, score


@dataclass(kw_only=True, eq=False)
class Survey:
    """Counts and examples of a ledger.

    reasons: branch, decision, node, reason, samples. sketches: per branch and score. sample: per branch the SAMPLE rows of smallest
    id. near: per branch, score and side (`low kept`, `low dropped`, `low far`, `high ...`) a few ids. examples: per branch and
    reason a few rows. groups: duplicate_of, branch, node, samples.
    """

    rows: int = 0
    reasons: pl.DataFrame = field(default_factory=pl.DataFrame)
    sketches: dict[Key, Sketch] = field(default_factory=dict)
    sample: pl.DataFrame = field(default_factory=pl.DataFrame)
    near: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)
    examples: pl.DataFrame = field(default_factory=pl.DataFrame)
    groups: pl.DataFrame = field(default_factory=pl.DataFrame)

    def count(self, **where: str) -> int:
        """Samples of these branches, decisions, nodes or reasons."""
        return int(self.reasons.filter(**where)["samples"].sum())


def survey(material: Material, *, batch_rows: int = BATCH_ROWS) -> Survey:
    """Survey a dataset's ledger."""
    files = sorted((material.directory / "ledger").glob("*.parquet"))
    sizes = [_rows(path) for path in files]
    columns = list(dict.fromkeys([*_NEEDED, *material.scores]))
    building = _Building(material, _edges(material, files, sizes, columns, batch_rows))
    for batch in _batches(files, sizes, columns, batch_rows):
        building.add(batch)
    return building.finish()


class _Building:
    """A survey on the way."""

    def __init__(self, material: Material, sketches: dict[Key, Sketch]) -> None:
        self.material = material
        self.result = Survey(sketches=sketches)
        self.nearest: dict[tuple[str, str, str], tuple[np.ndarray, list[str]]] = {}
        self.reasons: list[pl.DataFrame] = []
        self.groups: list[pl.DataFrame] = []

    def add(self, batch: pl.DataFrame) -> None:
        self.result.rows += batch.height
        by = ["branch", "decision", "node", "reason"]
        self.reasons.append(batch.group_by(by).agg(pl.len().alias("samples")))
        twins = batch.filter(pl.col("duplicate_of").is_not_null())
        self.groups.append(twins.group_by("duplicate_of", "branch", "node").agg(pl.len().alias("samples")))
        self._sample(batch)
        for (branch,), rows in batch.group_by("branch"):
            kept = (rows["decision"] == "kept").to_numpy()
            nodes = rows["node"]
            # A branch that the first look missed gets its edges from its own first batch.
            self.result.sketches |= _sketches(self.material, str(branch), rows, self.result.sketches)
            for score in self.material.scores:
                if (sketch := self.result.sketches.get((str(branch), score))) is not None:
                    self._measure(str(branch), score, sketch, rows, kept, (nodes == score).fill_null(False).to_numpy())
            if (lengths := self.result.sketches.get((str(branch), LENGTH))) is not None:
                values = _lengths(rows.filter(kept))
                lengths.add(values, np.ones(len(values), dtype=bool), np.zeros(len(values), dtype=bool))

    def _sample(self, batch: pl.DataFrame) -> None:
        lost = batch.filter(pl.col("reason").is_not_null()).select("id", "branch", "decision", "reason")
        self.result.sample = _smallest(self.result.sample, batch, ["branch"], SAMPLE)
        self.result.examples = _smallest(self.result.examples, lost, ["branch", "reason"], EXAMPLES)

    def _measure(
        self, branch: str, score: str, sketch: Sketch, rows: pl.DataFrame, kept: np.ndarray, ended: np.ndarray
    ) -> None:
        column = rows[score]
        there = column.is_not_null().to_numpy()
        if not there.any():
            return
        values = column.to_numpy()[there].astype(float) if column.null_count() else column.to_numpy().astype(float)
        sketch.add(values, kept[there], ended[there])
        bounds = self.material.bounds(branch, score) or Bounds()
        ids = rows["id"].filter(pl.Series(there)) if column.null_count() else rows["id"]
        for side, bound, inside in (
            ("low", bounds.low, values >= (bounds.low or 0)),
            ("high", bounds.high, values <= (bounds.high or 0)),
        ):
            if bound is not None:
                distance = np.abs(values - bound)
                self._nearest((branch, score, f"{side} kept"), distance, inside, ids)
                self._nearest((branch, score, f"{side} dropped"), distance, ~inside & ended[there], ids)
                self._nearest((branch, score, f"{side} far"), -distance, ~inside & ended[there], ids)

    def _nearest(self, key: tuple[str, str, str], distance: np.ndarray, mask: np.ndarray, ids: pl.Series) -> None:
        """Keep the NEAR samples of smallest distance; among equals the smallest ids of the batch's first few."""
        places = np.flatnonzero(mask & ~np.isnan(distance))
        known, names = self.nearest.get(key, (np.empty(0), []))
        if len(known) == NEAR and len(places):
            places = places[distance[places] < known[-1]]
        if not len(places):
            return
        if len(places) > 4 * NEAR:
            places = places[np.argpartition(distance[places], 4 * NEAR)[: 4 * NEAR]]
        pool = sorted(zip([*known, *distance[places]], [*names, *ids.gather(places).to_list()], strict=True))[:NEAR]
        self.nearest[key] = np.array([d for d, _ in pool]), [name for _, name in pool]

    def finish(self) -> Survey:
        result = self.result
        by = ["branch", "decision", "node", "reason"]
        counted = pl.concat(self.reasons).group_by(by).agg(pl.col("samples").sum())
        result.reasons = counted.sort(by, nulls_last=True)
        groups = pl.concat(self.groups).group_by("duplicate_of", "branch", "node").agg(pl.col("samples").sum())
        result.groups = groups.sort(["samples", "duplicate_of"], descending=[True, False])
        result.near = {key: names for key, (_, names) in sorted(self.nearest.items())}
        return result


def _smallest(known: pl.DataFrame, more: pl.DataFrame, by: list[str], count: int) -> pl.DataFrame:
    """The `count` rows of smallest id in each group."""
    if known.height:
        # Most rows come too late: those above the largest id of a full group need no sorting.
        full = (
            known.group_by(by)
            .agg(pl.len().alias("rows"), pl.col("id").max().alias("limit"))
            .filter(pl.col("rows") >= count)
        )
        limited = more.join(full.select(*by, "limit"), on=by, how="left")
        more = limited.filter(pl.col("limit").is_null() | (pl.col("id") < pl.col("limit"))).drop("limit")
        more = pl.concat([known, more.select(known.columns)])
    return more.sort("id").group_by(by, maintain_order=True).head(count).select(more.columns)


def _edges(material: Material, files: list[Path], sizes: list[int], columns: list[str], rows: int) -> dict[Key, Sketch]:
    """Empty sketches whose edges suit a first look at files spread over the whole ledger."""
    every = max(1, sum(sizes) // rows)
    first = pl.concat(list(_batches(files[::every], sizes[::every], columns, rows)))
    sketches: dict[Key, Sketch] = {}
    for (branch,), mine in first.group_by("branch"):
        sketches |= _sketches(material, str(branch), mine)
    return sketches


def _sketches(material: Material, branch: str, rows: pl.DataFrame, known: Container[Key] = ()) -> dict[Key, Sketch]:
    """Empty sketches of a branch's scores and lengths that are not known yet and have values in these rows."""
    sketches = {}
    for score in material.scores:
        if (branch, score) not in known:
            values = rows[score].drop_nulls().to_numpy().astype(float)
            if np.isfinite(values).any():
                bounds = material.bounds(branch, score) or Bounds()
                sketches[branch, score] = Sketch.over(values[np.isfinite(values)], bounds)
    if (branch, LENGTH) not in known and len(lengths := _lengths(rows.filter(decision="kept"))):
        sketches[branch, LENGTH] = Sketch.over(lengths, Bounds())
    return sketches


def _rows(path: Path) -> int:
    with path.open("rb") as file:
        return pq.read_metadata(file).num_rows


def _lengths(rows: pl.DataFrame) -> np.ndarray:
    return (
        rows.select(pl.col("text_tokens") + pl.col("visual_tokens_kept"))
        .to_series()
        .drop_nulls()
        .to_numpy()
        .astype(float)
    )


def _batches(files: list[Path], sizes: list[int], columns: list[str], rows: int) -> Iterator[pl.DataFrame]:
    """The ledger in order, about `rows` rows at a time."""
    group: list[Path] = []
    held = 0
    for path, size in zip(files, sizes, strict=True):
        if size > rows:
            for offset in range(0, size, rows):
                yield scan_frames([path]).select(columns).slice(offset, rows).collect()
            continue
        if held + size > rows and group:
            yield scan_frames(group).select(columns).collect()
            group, held = [], 0
        group.append(path)
        held += size
    if group:
        yield scan_frames(group).select(columns).collect()
