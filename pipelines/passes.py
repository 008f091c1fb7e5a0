"""Passes: one reading of a part, in which every step of a segment sees every sample that is still kept.

Samples are taken in batches, in row order; a batch goes through all steps before the next is read (where a GPU has it, the next goes
through the steps before that one meanwhile), so bytes are read once and pixels are decoded once. What was measured before is taken from
the part's measures. The result is columns: where each sample ended, its scores, its new turns, its token counts, and the signature that
the next Select decides by.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from typing import Any

import polars as pl

from curation.batch import Batch, batches, reading_bytes
from curation.media.probe import probe_media
from curation.operator import OperatorError, Part
from curation.sample import BadSample, Sample, SampleError
from curation.tokens import TokenCounter
from curation.uris import is_remote
from pipelines.ahead import Ahead, AheadGuard
from pipelines.copies import PassCopies
from pipelines.guard import Guard
from pipelines.kept import kept_before
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
        self.measures = Measures(self.store.measures / self.branch.source_id / f"{self.part_name}.measures.parquet")
        self.counts: dict[str, NodeCounts] = {}
        self.counters: Counter[str] = Counter()
        self.records: dict[int, dict[str, Any]] = {}
        self.signatures: list[pl.DataFrame] = []
        recipe = self.plan.recipe
        counter = TokenCounter.of(recipe.tokenizer, recipe.pixel_rules) if self.segment.counts else None
        # How many steps are done ahead of the others, and who is told where that and reading are.
        self.num_ahead, self.reading = 0, self.guard
        self.steps = steps_of(self.segment.operators, self.segment.measures, counter, self.segment.counts)

    def run(self) -> dict[str, Any]:
        """Do it, check the failures, commit; returns the facts."""
        try:
            self._through_all()
        finally:
            self.measures.save()
        for name, counts in self.counts.items():
            self._check_failures(name, counts)
        return self._commit()

    def _through_all(self) -> None:
        copying = self._copies_ahead()
        with PassCopies(self.store, self.branch.source_id, self.part_name) as copies, self._prepared() as prepared:
            for first, rows, batch in prepared:
                batch.beat = self.guard.beat
                kept = self._finish(rows, batch)
                del batch  # its pixels are gone before the next is read
                if copying:
                    copies.add(kept)
                if self._suspect(first):
                    self.measures.save()

    def _prepared(self) -> AbstractContextManager[Iterator[tuple[int, list[int], Batch]]]:
        """First row, rows and batch of what is read; where a GPU comes, after the steps before it, while it has the batch before."""
        if self.segment.before_gpu is None or self.suspects or self.poison:
            return nullcontext(self._begun())
        self.num_ahead, self.reading = self.segment.before_gpu, AheadGuard(self.guard)
        return Ahead(self._begun(), self.reading)

    def _begun(self) -> Iterator[tuple[int, list[int], Batch]]:
        for rows, samples in self._batches():
            self.records.update((row, {"row": row}) for row in rows)
            yield rows[0], *self._through(self.steps[: self.num_ahead], rows, self._batch(samples), self.reading)

    def _batch(self, samples: Sequence[Sample]) -> Batch:
        keep, sides = self.store.measures / self.branch.source_id / f"{self.part_name}.kept", self.segment.short_sides
        return Batch(samples, beat=self.reading.beat, keep=keep, short_sides=sides)

    def _batches(self) -> Iterator[tuple[list[int], list[Sample]]]:
        if not self.suspects:
            return _row_batches(self._entering(), 256, self.segment.group)
        grouped = groupby(self._entering(), key=lambda pair: self._suspect(pair[0]))
        runs = (_row_batches(pairs, *((1, 1) if alone else (256, self.segment.group))) for alone, pairs in grouped)
        return chain.from_iterable(runs)

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
            self.reading.at(self.branch.source.name, row, 1)
            item = self._probed(item, row)
            base.append(base_row(row, item))
            if isinstance(item, BadSample):
                counts.quarantined += 1
                counts.first_failure = counts.first_failure or f"{item.origin.name}: {item.message}"
                continue
            counts.bytes += sum(medium.size for medium in item.media)
            counts.seconds += time.perf_counter() - start
            yield row, item
            self.reading.at(f"reading {self.branch.source.name}", row + 1, 1)
            self.reading.beat()
            start = time.perf_counter()
        path = self.store.write_table(self.branch.source_id, self.part_name, base_table(base))
        self.store.commit(self.branch.source_id, self.part_name, [path], {"rows": len(base)})

    def _probed(self, item: Sample | BadSample, row: int) -> Sample | BadSample:
        if isinstance(item, BadSample):
            return item
        try:
            self.reading.beat(sum(reading_bytes(medium) for medium in item.media))
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

    def _finish(self, rows: list[int], batch: Batch) -> Sequence[Sample]:
        """One batch through the steps that are left; returns the samples that are left of it."""
        rows, batch = self._through(self.steps[self.num_ahead :], rows, batch, self.guard)
        if rows and self.segment.select:
            self.guard.at(self.segment.select.name, rows[0], len(rows), last=rows[-1])
            signature = self.segment.select.signature(batch)
            self.signatures.append(
                signature.select(pl.all().name.prefix("sig.")).with_columns(row=pl.Series(rows, dtype=pl.Int32))
            )
        self.counters.update(batch.counters)
        return batch.samples

    def _through(
        self, steps: Sequence[Step], rows: list[int], batch: Batch, guard: Guard | AheadGuard
    ) -> tuple[list[int], Batch]:
        for step in steps:
            if not rows:
                break
            rows, batch = self._step(step, rows, batch, guard)
        return rows, batch

    def _step(self, step: Step, rows: list[int], batch: Batch, guard: Guard | AheadGuard) -> tuple[list[int], Batch]:
        """One batch through one step; returns what goes on."""
        counts = self.counts.setdefault(step.name, NodeCounts())
        start = time.perf_counter()
        values = self._values(step, rows, batch, counts, guard)
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

    def _values(
        self, step: Step, rows: list[int], batch: Batch, counts: NodeCounts, guard: Guard | AheadGuard
    ) -> dict[int, Any]:
        """Values by row: known ones, and measured ones for the rest."""
        known = self.measures.known(step.measure)
        values = {row: known[row] for row in rows if row in known}
        counts.reused += len(values)
        for row in rows:
            if row in self.poison and self.poison[row][0] == step.name:
                values[row] = SampleError(self.poison[row][1], kind="WorkerDied")
        missing = [index for index, row in enumerate(rows) if row not in values]
        if missing:
            guard.at(step.name, rows[missing[0]], len(missing), last=rows[missing[-1]])
            guard.beat()
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


def _row_batches(
    pairs: Iterator[tuple[int, Sample]], size: int, group: int
) -> Iterator[tuple[list[int], list[Sample]]]:
    """Consecutive samples with their rows."""
    rows: list[int] = []

    def noted() -> Iterator[Sample]:
        for row, sample in pairs:
            rows.append(row)
            yield sample

    for samples in batches(noted(), size=size, group=group):
        taken, rows[:] = rows[: len(samples)], rows[len(samples) :]
        yield taken, samples
