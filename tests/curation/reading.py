"""Reading: everything a source yields, for any test of a source."""

from curation.operator import PartLimits, Source
from curation.sample import BadSample, Sample


def read_all(source: Source, limits: PartLimits | None = None) -> list[Sample | BadSample]:
    return [sample for part in source.parts(limits or PartLimits()) for sample in source.read(part)]


def good(source: Source) -> list[Sample]:
    read = read_all(source)
    assert all(isinstance(sample, Sample) for sample in read), [s.message for s in read if isinstance(s, BadSample)]
    return [sample for sample in read if isinstance(sample, Sample)]


def split(source: Source) -> tuple[list[Sample], list[BadSample]]:
    read = read_all(source)
    return [s for s in read if isinstance(s, Sample)], [s for s in read if isinstance(s, BadSample)]


def places(read: list[Sample | BadSample]) -> list[tuple[str, str]]:
    """What must not depend on part limits: ids and locators, in order."""
    return [(sample.id, sample.origin.locator) for sample in read]
