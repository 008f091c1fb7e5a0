"""Decontamination: samples that hold what a benchmark asks are dropped, with the name of the item that was hit."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import polars as pl

from curation.batch import Batch
from curation.operator import Operator, PartLimits, RecipeError, Select, Source, Verdict
from curation.sample import Sample
from curation.select.minhash import MinHashDedup
from curation.uris import open_uri, stat_uri

# For each sample of a batch: the number of the benchmark item it hits, -1 for none; and how strongly, in [0, 1].
Hits = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Probe(Operator):
    """One way in which a sample may give a benchmark item away: shared text, an image of it."""

    @abstractmethod
    def open(self, items: Sequence[Sample]) -> Callable[[Batch], Hits]:
        """Called once per worker with the benchmark; returns the function that looks for its items in batches."""


@dataclass(frozen=True, kw_only=True)
class Decontaminate(Select):
    """Drops samples that give away an item of a benchmark, as `Decontaminate.contaminated`; `duplicate_of` names the item.

    benchmark: a source of its items; an item is called after its file and the name it has there. probes: ways to look; the first
    that hits decides. The benchmark is held by every worker, and no sample is compared with any other.
    """

    VERDICT: ClassVar[Verdict] = "contaminated"

    benchmark: Source
    probes: tuple[Probe, ...]

    def settings(self) -> dict[str, Any]:
        """As of any operator, and the content of the benchmark's files."""
        return super().settings() | {"content": [_content(path, *stat_uri(path)) for path in self.benchmark.files()]}

    def signature(self, batch: Batch) -> pl.DataFrame:
        """`item`: the benchmark item that is given away, null for none; `overlap`: how strongly, in [0, 1]."""
        names, probes = _opened(self)
        hit, strength = np.full(len(batch), -1, dtype=np.int64), np.full(len(batch), np.nan)
        for probe in probes:
            items, strengths = probe(batch)
            fresh = (hit < 0) & (items >= 0)
            hit[fresh], strength[fresh] = items[fresh], strengths[fresh]
        return pl.DataFrame(
            {"item": [None if item < 0 else names[item] for item in hit], "overlap": strength},
            schema={"item": pl.String, "overlap": pl.Float64},
            nan_to_null=True,
        )

    def choose(self, table: pl.DataFrame) -> pl.DataFrame:
        """Every sample with a hit, sorted by id."""
        return table.drop_nulls("item").select("id", duplicate_of="item", similarity="overlap").sort("id")


@dataclass(frozen=True, kw_only=True)
class SharedWords(Probe):
    """Containment: the share of an item's different runs of words that the sample has too, in [0, 1].

    size: words in a run; an item of fewer words is one run, all of it. min_words: items with fewer are never looked for: they would
    be found everywhere. low: least containment.

    Source: GPT-3, arXiv:2005.14165, appendix C (13-grams; any overlap there, a share here, so that a common phrase drops nothing).
    """

    size: int = 13
    min_words: int = 8
    low: float = 0.5

    def open(self, items: Sequence[Sample]) -> Callable[[Batch], Hits]:
        """Index the items' runs."""
        from curation.select.ngram_index import NgramIndex

        index = NgramIndex([item.text() for item in items], size=self.size, min_words=self.min_words)
        return lambda batch: index.best(batch.texts().to_list(), low=self.low)


@dataclass(frozen=True, kw_only=True)
class NearText(Probe):
    """Estimated Jaccard similarity of the whole sample and the whole item, for those that share a MinHash band."""

    like: MinHashDedup = field(default_factory=lambda: MinHashDedup(jaccard=0.7, low=0.6))

    def open(self, items: Sequence[Sample]) -> Callable[[Batch], Hits]:
        """Sign the items."""
        from curation.select.ngram_index import NearIndex

        index = NearIndex(self.like.signature(Batch(items)), self.like)
        return lambda batch: index.best(self.like.signature(batch))


def items_of(benchmark: Source) -> list[Sample]:
    """Every item that can be read.

    Raises:
        RecipeError: there is none.
    """
    parts = benchmark.parts(PartLimits())
    items = [item for part in parts for item in benchmark.read(part) if isinstance(item, Sample)]
    if not items:
        raise RecipeError(
            f"benchmark {benchmark.name}: no item can be read from {', '.join(benchmark.files()) or 'no file'}"
        )
    return items


@lru_cache(maxsize=8)
def _opened(select: Decontaminate) -> tuple[list[str], list[Callable[[Batch], Hits]]]:
    items = items_of(select.benchmark)
    names = [f"{item.origin.source}/{item.origin.name}" for item in items]
    return names, [probe.open(items) for probe in select.probes]


@lru_cache(maxsize=1024)
def _content(path: str, size: int, changed: int) -> str:  # noqa: ARG001  a changed file is read again
    with open_uri(path) as file:
        return hashlib.sha256(file.read()).hexdigest()
