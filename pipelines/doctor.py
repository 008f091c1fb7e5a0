"""Doctor: which of the published corpora lie in a data directory, whether they can be read, and what is wrong with them."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from curation.media.probe import probe_media
from curation.operator import PartLimits, RecipeError
from curation.sample import BadSample, Sample, SampleError
from pipelines.recipes.corpora import CORPORA
from pipelines.recipes.corpus import Corpus, Use


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one corpus in one use.

    there: its folder is; samples: in it, counted or estimated, 0 where only reading everything would tell; tried, bad: of those
    that were read, with their media's headers; fault: why it cannot be used as it is, "" if it can; home: where to get it.
    """

    corpus: str
    branch: str
    stages: tuple[str, ...]
    task: str
    there: bool
    samples: int = 0
    tried: int = 0
    bad: int = 0
    fault: str = ""
    home: str = ""
    layout: str = ""

    def __str__(self) -> str:
        where = f"{self.branch} ({', '.join(self.stages)})"
        if not self.there:
            return f"-    {where}: not there. From {self.home}; wanted: {self.corpus}/ {self.layout}"
        count = f"about {self.samples:,} samples" if self.samples else "samples not counted"
        if self.fault:
            return f"BAD  {where}: {self.fault}. Wanted: {self.layout}"
        return f"ok   {where}: {count}; {self.tried - self.bad} of {self.tried} read well"


def examine(data: str, *, stage: str | None = None, samples: int = 64) -> list[Finding]:
    """A finding per corpus and use, reading the first samples of each.

    Raises:
        RecipeError: the data directory does not exist.
    """
    if not Path(data).is_dir():
        raise RecipeError(f"--data {data}: no such directory")
    uses = [(corpus, use) for corpus in CORPORA for use in corpus.uses if stage is None or stage in use.stages]
    return [_examine(corpus, use, data, samples) for corpus, use in uses]


def _examine(corpus: Corpus, use: Use, data: str, samples: int) -> Finding:
    facts = {"corpus": corpus.name, "branch": corpus.branch(use), "stages": use.stages, "task": use.task}
    facts |= {"home": corpus.home, "layout": corpus.layout}
    if not (Path(data) / corpus.name).is_dir():
        return Finding(there=False, **facts)
    if why := corpus.missing(data, use):
        return Finding(there=True, fault=why, **facts)
    source = corpus.source(data, use)
    try:
        parts = source.parts(PartLimits())
        read = islice((sample for part in parts for sample in source.read(part)), samples)
        errors = [_fault(sample) for sample in read]
    except (RecipeError, OSError) as error:
        return Finding(there=True, fault=str(error), **facts)
    bad = [error for error in errors if error]
    counted = sum(part.rows for part in parts)
    facts |= {"samples": counted, "tried": len(errors), "bad": len(bad)}
    if not errors:
        return Finding(there=True, fault="no sample in it", **facts)
    # As in a run: a few bad samples are the corpus's dirt, many mean that it does not lie as wanted.
    wrong = len(bad) > max(1, 0.1 * len(errors))
    return Finding(
        there=True, fault=f"{len(bad)} of {len(errors)} cannot be read; first: {bad[0]}" if wrong else "", **facts
    )


def _fault(sample: Sample | BadSample) -> str:
    if isinstance(sample, BadSample):
        return sample.message
    try:
        for medium in sample.media:
            probe_media(medium)
    except SampleError as error:
        return f"{sample.origin.name}: {error}"
    return ""
