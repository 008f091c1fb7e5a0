"""Steps: operators as a pass sees them: a value per sample that can be stored, and what that value means for the sample."""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from curation.batch import Batch
from curation.media.read import NO_ROOM
from curation.operator import Filter, Operator, OperatorError, RecipeError, Transform, digest
from curation.sample import Sample, SampleError, turn_to_dict, turns_of, turns_to_json
from curation.tokens import TokenCounter


@dataclass(kw_only=True)
class Step:
    """A node of a segment. `measure` is the identity under which its values are kept."""

    name: str
    measure: str

    def values(self, batch: Batch) -> list[Any]:
        """A JSON-able value per sample; failures in `batch.errors`, or raised when they concern the whole batch."""
        raise NotImplementedError

    def settle(self, sample: Sample, value: Any, record: dict[str, Any]) -> Sample | str:
        """The sample as it goes on, or the verdict that drops it; notes in `record` what the tables keep."""
        raise NotImplementedError


@dataclass(kw_only=True)
class FilterStep(Step):
    """One number, and bounds that decide."""

    operator: Filter

    def __post_init__(self) -> None:
        self._measure = self.operator.open()

    def values(self, batch: Batch) -> list[Any]:
        """The measure; null where it does not apply."""
        values = self._measure(batch)
        listed = (
            values.cast(pl.Float64).to_list()
            if isinstance(values, pl.Series)
            else np.asarray(values, dtype=float).tolist()
        )
        if len(listed) != len(batch):
            raise OperatorError(
                f"{self.name}: measured {len(listed)} numbers for {len(batch)} samples: return one per sample, in order"
            )
        return listed

    def settle(self, sample: Sample, value: Any, record: dict[str, Any]) -> Sample | str:
        """Within [low, high], or not applicable: kept."""
        record[self.name] = value
        if value is None:
            return sample
        if value != value:
            return "nan"
        if self.operator.low is not None and value < self.operator.low:
            return "below"
        if self.operator.high is not None and value > self.operator.high:
            return "above"
        return sample


@dataclass(kw_only=True)
class TransformStep(Step):
    """New turns."""

    operator: Transform

    def __post_init__(self) -> None:
        self._rewrite = self.operator.open()

    def values(self, batch: Batch) -> list[Any]:
        """Turns after rewriting, or True where nothing changed."""
        pairs = zip(batch.samples, self._rewrite(batch), strict=True)
        return [True if old.turns == new.turns else [turn_to_dict(turn) for turn in new.turns] for old, new in pairs]

    def settle(self, sample: Sample, value: Any, record: dict[str, Any]) -> Sample | str:
        """The sample with its new turns."""
        if value is True:
            return sample
        rewritten = replace(sample, turns=turns_of(value))
        record["turns"] = turns_to_json(rewritten.turns)
        return rewritten


@dataclass(kw_only=True)
class CountStep(Step):
    """What the sample costs in training: language tokens, patches, visual tokens before and after pruning."""

    counter: TokenCounter

    def values(self, batch: Batch) -> list[Any]:
        """Counts as a mapping (see tables.COUNT_SCHEMA)."""
        counts: list[Any] = []
        for index in range(len(batch)):
            try:
                counts.append(self.counter.count(batch, index))
            except SampleError as error:
                batch.errors[index] = error
                counts.append(None)
        return counts

    def settle(self, sample: Sample, value: Any, record: dict[str, Any]) -> Sample | str:
        """Always goes on."""
        record.update(value)
        return sample


def steps_of(
    operators: Sequence[Operator], measures: Sequence[str], counter: TokenCounter | None, counts: str
) -> list[Step]:
    """The steps of a segment. A worker opens a segment's operators, which may load weights, for its first part of it."""
    key = digest([operator.settings() for operator in operators], list(measures), counts)
    if key not in _opened:
        while len(_opened) >= MAX_OPEN:
            _opened.pop(next(iter(_opened)))
        _opened[key] = _open(operators, measures, counter, counts)
    return _opened[key]


def _open(
    operators: Sequence[Operator], measures: Sequence[str], counter: TokenCounter | None, counts: str
) -> list[Step]:
    steps: list[Step] = []
    for operator, measure in zip(operators, measures, strict=True):
        if isinstance(operator, Filter):
            steps.append(FilterStep(name=operator.name, measure=measure, operator=operator))
        elif isinstance(operator, Transform):
            steps.append(TransformStep(name=operator.name, measure=measure, operator=operator))
        else:
            raise RecipeError(f"{operator.name} is neither a Filter, a Transform nor a Select")
    if counter is not None:
        steps.append(CountStep(name="Count", measure=counts, counter=counter))
    return steps


# Segments whose operators a worker holds open; parts of branches take turns.
MAX_OPEN = 8
_opened: dict[str, list[Step]] = {}


def attempt(step: Step, batch: Batch) -> list[Any]:
    """The step's value per sample, a SampleError in place of a failure.

    The one place where an unexpected exception of an operator becomes the failure of a sample: the batch is taken apart until the
    sample is found, and the traceback is kept. Errors of the operator itself (OperatorError, RecipeError) stop the run.
    """
    try:
        values = step.values(batch)
    except (OperatorError, RecipeError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise  # what an operator keeps could not be written: no fault of a sample
        if len(batch) > 1:
            return [attempt(step, batch.take([index]))[0] for index in range(len(batch))]
        return [error if isinstance(error, SampleError) else unexpected(error)]
    for index, error in batch.errors.items():
        values[index] = error
    return values


def unexpected(error: Exception) -> SampleError:
    """An exception that no operator foresaw, as a sample's failure that keeps its traceback."""
    trace = "".join(traceback.format_exception(error)[-3:]).strip()
    return SampleError(f"{error}\n{trace}", kind=type(error).__name__)
