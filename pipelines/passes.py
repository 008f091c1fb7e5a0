"""Passes: one reading of a part, in which every step of a segment sees every sample that is still kept.

Samples are taken in batches, in row order; a batch goes through all steps before the next is read, so bytes are read once and pixels
are decoded once. What was measured before is taken from the part's measures. The result is columns: where each sample ended, its scores,
its new turns, its token counts, and the signature that the next Select decides by.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import polars as pl

from curation.batch import Batch, batches, reading_bytes
from curation.media.probe import probe_media
from curation.operator import OperatorError, Part
from curation.sample import BadSample, Sample, SampleError
from curation.tokens import TokenCounter
from curation.uris import is_remote
from pipelines.copies import PassCopies
from pipelines.guard import Guard
from pipelines.measures import Measures
from pipelines.plan import BranchPlan, Plan, SegmentPlan
from pipelines.steps import FilterStep, Step, attempt, steps_of
from pipelines.store import Store
from pipelines.tables import COUNT_SCHEMA, SEGMENT_SCHEMA, base_row, base_table, columns_of, sample_of

# A part may lose this many samples to failures whatever its size; beyond, the recipe's share decides.
FREE_FAILURES = 16


@dataclass
class NodeCounts:
    """What one node did to one part: seen = kept + dropped + quarantined. bytes: of the media that a source gave."""

    seen: int = 0
    bytes: int = 0
    quarantined: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    measured: int = 0
    reused: int = 0
    seconds: float = 0.0
    first_failure: str = ""

    @property
    def kept(self) -> int:
        """What went on."""
        return self.seen - self.quarantined - sum(self.dropped.values())

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {**self.__dict__, "dropped": dict(self.dropped), "kept": self.kept, "seconds": round(self.seconds, 4)}


@dataclass(kw_only=True)
class Pass:
    """One segment over one part.

    poison: row -> (node, message) of samples that killed a worker twice; suspects: (first, last) rows that are taken one at a time,
    after a worker died among them.
    """

    plan: Plan
    store: Store
    branch: BranchPlan
    segment: SegmentPlan
    part: Part
    part_name: str
    guard: Guard
    poison: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    suspects: Sequence[tuple[int, int]] = ()

    def __post_init__(self) -> None:
        self.measures = Measures(self.store.work / self.branch.source_id / f"{self.part_name}.measures.parquet")
        self.counts: dict[str, NodeCounts] = {}
        self.counters: Counter[str] = Counter()
        self.records: dict[int, dict[str, Any]] = {}
        self.signatures: list[pl.DataFrame] = []
        recipe = self.plan.recipe
        counter = TokenCounter.of(recipe.tokenizer, recipe.pixel_rules) if self.segment.counts else None
        self.steps = steps_of(self.segment.operators, self.segment.measures, counter, self.segment.counts)

    def run(self) -> dict[str, Any]:
        """Do it, check the failures, commit; returns the facts."""
        copying = self._copies_ahead()
        try:
            with PassCopies(self.store, self.branch.source_id, self.part_name) as copies:
                for rows, samples in self._batches():
                    # The batch is held by no name here: its bytes are gone before the next is read. A video may have hundreds of megabytes.
                    kept = self._through(rows, self._batch(samples))
                    if copying:
                        copies.add(kept)
                    if self._suspect(rows[0]):
                        self.measures.save()
        finally:
            self.measures.save()
        for name, counts in self.counts.items():
            self._check_failures(name, counts)
        return self._commit()

    def _batch(self, samples: Sequence[Sample]) -> Batch:
        keep, sides = self.store.work / self.branch.source_id / f"{self.part_name}.kept", self.segment.short_sides
        return Batch(samples, counters=self.counters, beat=self.guard.beat, keep=keep, short_sides=sides)

    def _batches(self) -> Iterator[tuple[list[int], list[Sample]]]:
        if not self.suspects:
            return _row_batches(self._entering(), 256)
        grouped = groupby(self._entering(), key=lambda pair: self._suspect(pair[0]))
        return (found for alone, pairs in grouped for found in _row_batches(pairs, 1 if alone else 256))

    def _suspect(self, row: int) -> bool:
        return any(first <= row <= last for first, last in self.suspects)

    def _copies_ahead(self) -> bool:
        """Whether most of what this pass keeps will stay, so that it is cheaper to copy it now than to read it again then."""
        mixture, last = self.plan.recipe.mixture, all(segment.empty for segment in self.branch.segments[1:])
        return last and (mixture is None or mixture.budget is None) and not is_remote(str(self.store.root))

    def _entering(self) -> Iterator[tuple[int, Sample]]:
        """The samples that enter this segment: read from the source, or what the branch's last Select left."""
        first = self.segment is self.branch.segments[0]
        if first and self.store.done(self.branch.source_id, self.part_name) is None:
            yield from self._read()
            return
        if first:
            self._count_source(self.store.read_table(self.branch.source_id, self.part_name))
        index = next(number for number, segment in enumerate(self.branch.segments) if segment is self.segment)
        for row in kept_before(self.store, self.branch, index, self.part_name).iter_rows(named=True):
            yield row["row"], sample_of(row)

    def _read(self) -> Iterator[tuple[int, Sample]]:
        """Read the part, look at every header, and commit the base table when all went through."""
        base: list[dict[str, Any]] = []
        counts = self.counts.setdefault(self.branch.source.name, NodeCounts())
        start = time.perf_counter()
        for row, item in enumerate(self.branch.source.read(self.part)):
            counts.seen += 1
            self.guard.at(self.branch.source.name, row, 1)
            item = self._probed(item, row)
            base.append(base_row(row, item))
            if isinstance(item, BadSample):
                counts.quarantined += 1
                counts.first_failure = counts.first_failure or f"{item.origin.name}: {item.message}"
                continue
            counts.bytes += sum(medium.size for medium in item.media)
            counts.seconds += time.perf_counter() - start
            yield row, item
            self.guard.at(f"reading {self.branch.source.name}", row + 1, 1)
            self.guard.beat()
            start = time.perf_counter()
        path = self.store.write_table(self.branch.source_id, self.part_name, base_table(base))
        self.store.commit(self.branch.source_id, self.part_name, [path], {"rows": len(base)})

    def _probed(self, item: Sample | BadSample, row: int) -> Sample | BadSample:
        if isinstance(item, BadSample):
            return item
        try:
            self.guard.beat(sum(reading_bytes(medium) for medium in item.media))
            if row in self.poison and self.poison[row][0] == self.branch.source.name:
                raise SampleError(self.poison[row][1], kind="WorkerDied")
            if any(medium.reference is None or not medium.digest for medium in item.media):
                raise SampleError("a medium has no reference or no digest: its source must say where its bytes lie")
            return replace(item, media=tuple(probe_media(medium) for medium in item.media))
        except SampleError as error:
            return BadSample(origin=item.origin, error=error.kind, message=str(error), retryable=error.retryable)

    def _count_source(self, base: pl.DataFrame) -> None:
        counts = self.counts.setdefault(self.branch.source.name, NodeCounts())
        counts.seen = base.height
        counts.quarantined = base.height - base["error"].null_count()

    def _through(self, rows: list[int], batch: Batch) -> Sequence[Sample]:
        """One batch through all steps; returns the samples that are left of it."""
        self.records.update((row, {"row": row}) for row in rows)
        for step in self.steps:
            if not rows:
                break
            rows, batch = self._step(step, rows, batch)
        if rows and self.segment.select:
            self.guard.at(self.segment.select.name, rows[0], len(rows), last=rows[-1])
            signature = self.segment.select.signature(batch)
            self.signatures.append(
                signature.select(pl.all().name.prefix("sig.")).with_columns(row=pl.Series(rows, dtype=pl.Int32))
            )
        return batch.samples

    def _step(self, step: Step, rows: list[int], batch: Batch) -> tuple[list[int], Batch]:
        """One batch through one step; returns what goes on."""
        counts = self.counts.setdefault(step.name, NodeCounts())
        start = time.perf_counter()
        values = self._values(step, rows, batch, counts)
        going, samples = [], list(batch.samples)
        for index, row in enumerate(rows):
            record = self.records[row]
            value = values[row]
            outcome = "error" if isinstance(value, SampleError) else step.settle(samples[index], value, record)
            if isinstance(outcome, Sample):
                samples[index] = outcome
                going.append(index)
                continue
            record |= {"node": step.name, "reason": f"{step.name}.{outcome}", "quarantined": outcome == "error"}
            if isinstance(value, SampleError):
                record |= {"error": value.kind, "message": str(value), "retryable": value.retryable}
                counts.quarantined += 1
                counts.first_failure = counts.first_failure or f"{samples[index].origin.name}: {value}"
            else:
                counts.dropped[outcome] += 1
        counts.seen += len(rows)
        counts.seconds += time.perf_counter() - start
        return [rows[i] for i in going], batch.take(going, samples)

    def _values(self, step: Step, rows: list[int], batch: Batch, counts: NodeCounts) -> dict[int, Any]:
        """Values by row: known ones, and measured ones for the rest."""
        known = self.measures.known(step.measure)
        values = {row: known[row] for row in rows if row in known}
        counts.reused += len(values)
        for row in rows:
            if row in self.poison and self.poison[row][0] == step.name:
                values[row] = SampleError(self.poison[row][1], kind="WorkerDied")
        missing = [index for index, row in enumerate(rows) if row not in values]
        if missing:
            self.guard.at(step.name, rows[missing[0]], len(missing), last=rows[missing[-1]])
            self.guard.beat()
            # The batch itself where it can be: what the step leaves in it for later steps is found again.
            measured = batch if len(missing) == len(rows) else batch.take(missing)
            fresh = list(zip([rows[i] for i in missing], attempt(step, measured), strict=True))
            self.measures.put(step.measure, fresh)
            values.update(fresh)
            counts.measured += len(missing)
        return values

    def _check_failures(self, name: str, counts: NodeCounts) -> None:
        limit = self.plan.recipe.max_failures
        if counts.quarantined > max(FREE_FAILURES, limit * counts.seen):
            share = 100 * counts.quarantined / counts.seen
            raise OperatorError(
                f"{self.branch.name}/{name}: {counts.quarantined:,} of {counts.seen:,} samples of part {self.part.uri} failed "
                f"({share:.1f} %, limit {100 * limit:g} %); first: {counts.first_failure}. Fix the source or raise max_failures"
            )

    def _commit(self) -> dict[str, Any]:
        scores = {step.name: pl.Float64 for step in self.steps if isinstance(step, FilterStep)}
        schema = SEGMENT_SCHEMA | scores | (COUNT_SCHEMA if self.segment.counts else {})
        table = columns_of((self.records[row] for row in sorted(self.records)), schema)
        if self.signatures:
            table = table.join(pl.concat(self.signatures), on="row", how="left", maintain_order="left")
        path = self.store.write_table(self.segment.id, self.part_name, table)
        nodes = {name: counts.facts() for name, counts in self.counts.items()}
        return self.store.commit(
            self.segment.id, self.part_name, [path], {"nodes": nodes, "counters": dict(self.counters)}
        )


def kept_before(store: Store, branch: BranchPlan, index: int, part_name: str) -> pl.DataFrame:
    """Base rows of a part that enter segment `index`, with turns, scores and counts so far."""
    kept = store.read_table(branch.source_id, part_name).filter(pl.col("error").is_null())
    for segment in branch.segments[:index]:
        kept = after_segment(store, segment, part_name, kept)
    return kept


def after_segment(
    store: Store, segment: SegmentPlan, part_name: str, kept: pl.DataFrame, *, decided: bool = True
) -> pl.DataFrame:
    """Rows of `kept` that a committed segment and its Select kept, with new turns and all scores and counts as further columns.

    decided: whether the Select has decided already.
    """
    if not segment.empty:
        table = store.read_table(segment.id, part_name)
        table = table.filter(pl.col("node").is_null()).select(
            pl.exclude(*(c for c in SEGMENT_SCHEMA if c not in ("row", "turns")), "^sig\\..*$")
        )
        kept = kept.join(table.rename({"turns": "new_turns"}), on="row", how="inner", maintain_order="left")
        kept = kept.with_columns(turns=pl.coalesce("new_turns", "turns")).drop("new_turns")
    if segment.select and decided:
        if segment.relation_id:
            kept = kept.join(scores_of(store, segment, part_name), on="row", how="left", maintain_order="left")
        dropped = (
            store.scan_table(segment.select_id, "dropped").filter(pl.col("part") == part_name).select("row").collect()
        )
        kept = kept.join(dropped, on="row", how="anti", maintain_order="left")
    return kept


def scores_of(store: Store, segment: SegmentPlan, part_name: str) -> pl.DataFrame:
    """Row and scores of the samples of one part that entered a Select which gives scores."""
    assert segment.select is not None
    related = store.scan_table(segment.relation_id, "related").filter(pl.col("part") == part_name)
    return related.select("row", *segment.select.SCORES).collect()


def _row_batches(pairs: Iterator[tuple[int, Sample]], size: int) -> Iterator[tuple[list[int], list[Sample]]]:
    """Consecutive samples with their rows."""
    rows: list[int] = []

    def noted() -> Iterator[Sample]:
        for row, sample in pairs:
            rows.append(row)
            yield sample

    for samples in batches(noted(), size=size):
        taken, rows[:] = rows[: len(samples)], rows[len(samples) :]
        yield taken, samples
