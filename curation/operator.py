"""Operator: the four things that can be done with samples, and the errors they raise.

    Source     reads samples, in parts                                 one pass = one reading of a part
    Filter     one number per sample; bounds decide                    numbers are stored, so bounds can change without measuring again
    Transform  rewrites a sample's turns, one to one
    Select     the only barrier: decides over all samples of a branch, from columns, never from media

Operators are frozen keyword-only dataclasses: their fields are their whole configuration, so they print, compare, hash and pickle.
There is no registry; a recipe imports the class. Placement (CPUs, GPUs, batch size) belongs to the node that holds the operator.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from curation.sample import BadSample, Sample

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from curation.batch import Batch

    Measure = Callable[[Batch], "pl.Series | np.ndarray"]

Verdict = Literal["below", "above", "nan", "error", "duplicate", "quota", "contaminated"]


class RecipeError(ValueError):
    """The recipe cannot be run; raised before anything is read."""


class OperatorError(RuntimeError):
    """This operator cannot go on (too many failures, missing weights): the run stops and can be resumed."""


class ContractError(ValueError):
    """A dataset breaks its contract (a tar that differs from its index, a missing manifest): never skipped."""


@dataclass(frozen=True, kw_only=True)
class Operator(ABC):  # noqa: B024  its kinds below have the abstract methods
    """What all operators share: a name for reasons and columns, and an identity."""

    # Raised whenever the code would give other numbers for the same settings; it is part of the identity.
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """Name in reasons, columns and reports: the class, unless two of a class are told apart by a setting."""
        return type(self).__name__

    @property
    def short_side(self) -> int | None:
        """Short side of the pictures that it asks a batch for, 0 for whole ones, None for none: that of what it is made of, unless
        overridden. Only a hint, so that a picture which must be seen to decode is decoded at a size that is needed anyway.
        """
        asked = [getattr(getattr(self, part.name), "short_side", None) for part in fields(self)]
        return min((side for side in asked if side is not None), default=None)

    def settings(self) -> dict[str, Any]:
        """All fields as JSON-able values, with class and version: the operator's identity and its form in the manifest."""
        fields = {f.name: jsonable(getattr(self, f.name)) for f in dataclasses.fields(self)}
        operator = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"operator": operator, "name": self.name, "version": self.VERSION, **fields}


@dataclass(frozen=True, kw_only=True)
class PartLimits:
    """How large a part may be. Outputs do not depend on it; memory and the work lost in a crash do."""

    rows: int = 2048
    bytes: int = 256 << 20


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class Part:
    """A fixed range of a source's rows: the unit of work, commit and restart.

    uri: the file; begin, end: the range in the source's own unit (rows, bytes, members); `bytes`: encoded bytes, estimated.
    """

    uri: str
    begin: int = 0
    end: int = 0
    rows: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Source(Operator):
    """Reads samples. Two readings of a part give the same samples in the same order."""

    @abstractmethod
    def files(self) -> Sequence[str]:
        """Every file that the samples depend on, sorted; their sizes and times are the source's fingerprint.

        Raises:
            RecipeError: there is nothing to read.
        """

    @abstractmethod
    def parts(self, limits: PartLimits) -> Sequence[Part]:
        """The whole source cut into parts, in a fixed order, without reading media."""

    @abstractmethod
    def read(self, part: Part) -> Iterator[Sample | BadSample]:
        """The samples of one part in order. Media carry a `reference`, and `data` where the bytes passed by anyway.

        One bad sample is a BadSample, never an exception: it costs itself only.
        """


@dataclass(frozen=True, kw_only=True)
class Filter(Operator):
    """Keeps samples whose measure lies within [low, high]. None = no bound. NaN is dropped; null (does not apply) is kept."""

    low: float | None = None
    high: float | None = None

    def measure(self, batch: Batch) -> pl.Series | np.ndarray:
        """One number per sample of the batch, in order. Override this, or `open` where weights must be loaded first."""
        raise NotImplementedError(f"{self.name} defines neither measure nor open")

    def open(self) -> Measure:
        """Called once per worker; returns the function that measures batches."""
        return self.measure

    def measure_settings(self) -> dict[str, Any]:
        """Settings that the number depends on: all but the bounds."""
        return {key: value for key, value in self.settings().items() if key not in ("low", "high")}


@dataclass(frozen=True, kw_only=True)
class Transform(Operator):
    """Rewrites turns, one to one. The id stays: it names what was read."""

    @abstractmethod
    def rewrite(self, sample: Sample) -> Sample:
        """The sample with new turns.

        Raises:
            SampleError: this sample cannot be rewritten.
        """

    def open(self) -> Callable[[Batch], Sequence[Sample]]:
        """Called once per worker; returns the function that rewrites batches. Override for models that want batches."""
        return lambda batch: batch.each(self.rewrite)


@dataclass(frozen=True, kw_only=True)
class Select(Operator):
    """Decides over all samples of a branch: dedup, balance, decontaminate. Sees columns only."""

    # How a sample it does not keep is called in the ledger.
    VERDICT: ClassVar[Verdict] = "duplicate"
    # Numbers that `relate` gives for every sample, which then stand in the ledger as scores.
    SCORES: ClassVar[tuple[str, ...]] = ()

    @property
    def carries(self) -> int:
        """How many captions of dropped duplicates a survivor carries at most as its alternates (see pipelines.alternates)."""
        return 0

    def signature_settings(self) -> dict[str, Any]:
        """Settings that the signature depends on: with others changed, no sample is looked at again."""
        return self.settings()

    def relation_settings(self) -> dict[str, Any]:
        """Settings that `relate` depends on: with others changed, the relation is not computed again."""
        return self.settings()

    @abstractmethod
    def signature(self, batch: Batch) -> pl.DataFrame:
        """The columns that the decision needs, one row per sample of the batch, in order."""

    def relate(self, table: pl.DataFrame) -> pl.DataFrame:
        """What is dear and does not depend on bounds: `id`, the SCORES, and what else `choose` wants, of every sample.

        Asked only where there are SCORES. It is stored, so that another bound computes nothing again.
        """
        raise NotImplementedError(f"{self.name} names scores and does not define relate")

    @abstractmethod
    def choose(self, table: pl.DataFrame) -> pl.DataFrame:
        """Decide from all signatures.

        Args:
            table: one row per sample still kept: `id`, the signature columns, every score so far under its filter's name, and
                the columns of `relate` where there are SCORES.

        Returns:
            One row per sample that is dropped: `id`, `duplicate_of` (the survivor's id, or null), and `similarity` where the Select
            compared the two: how alike they are, by its own measure. Independent of row order.
        """

    def choose_and_tell(self, table: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """`choose`, and where samples were too many to compare them all (see curation.select.crowds); None = nowhere."""
        return self.choose(table), None


def jsonable(value: Any) -> Any:
    """Nested dataclasses, tuples and mappings as plain JSON values; anything else is a recipe error."""
    if isinstance(value, Operator):
        return value.settings()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
        # Weights are part of what a setting stands for: an encoder, head or captioner says which it has.
        identity = getattr(value, "identity", None)
        return fields | {"identity": jsonable(identity())} if callable(identity) else fields
    if isinstance(value, dict):
        return {str(key): jsonable(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise RecipeError(
        f"setting {value!r} of type {type(value).__name__} has no JSON form: use numbers, strings, tuples or dataclasses"
    )


def digest(*values: Any) -> str:
    """64-bit digest, hex, of JSON-able values: identities of nodes and recipes."""
    return hashlib.blake2b(canonical(values).encode(), digest_size=8).hexdigest()


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(jsonable(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def branches_of(operators: Iterable[Operator]) -> tuple[list[list[Operator]], list[Select]]:
    """Operators cut at the barriers: segments between Selects, and the Selects (one fewer than segments)."""
    segments: list[list[Operator]] = [[]]
    selects: list[Select] = []
    for operator in operators:
        if isinstance(operator, Select):
            selects.append(operator)
            segments.append([])
        else:
            segments[-1].append(operator)
    return segments, selects
